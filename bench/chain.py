"""What the chain around a method costs, part by part, beside what gRPC itself costs.

The parts are timed inside a call of a real server, each many times in a row: that is their cost
in a cache that knows them. In flight the cache is shared with all else, and a call costs more;
so the last rows are CPU time of a server that serves calls, with the chain and without it.
`python -m bench.chain ADDRESS FOLDER` serves, with the keys of the folder.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import uvloop
from google.protobuf.message import Message
from rich.table import Table

from bench.processes import cpu_seconds
from bench.wire import Caller, Target
from services.chassis.access import Access, Context, token_of
from services.chassis.call import Call
from services.chassis.call_log import CallLog, Outcome
from services.chassis.chain import Chain, digest_of
from services.chassis.deadlines import Deadlines
from services.chassis.identifiers import new_request_id
from services.chassis.identity import Principal
from services.chassis.issuers import Issuer, Issuers
from services.chassis.lines import Lines
from services.chassis.logs import configure_logs
from services.chassis.metrics import Metrics
from services.chassis.policy import methods_of
from services.chassis.roles import Roles
from services.chassis.server import make_server
from services.chassis.settings import TOKEN_AUDIENCE, TOKEN_ISSUER, ServiceSettings
from services.chassis.tokens import Tokens
from services.chassis.tracing import no_span
from services.chassis.validation import checker
from services.command.keys import ensure_signing_key, mint_token
from tests.harness.ports import free_port
from tests.harness.suite import ROOT
from vafa.contacts.v1 import contacts_pb2

SERVICE = contacts_pb2.DESCRIPTOR.services_by_name["ContactService"]
METHOD = next(method for method in methods_of(SERVICE) if method.name == "GetContact")
BARE_PATH, PARTS_PATH = "/bench.Chain/Bare", "/bench.Chain/Parts"
REQUEST = contacts_pb2.GetContactRequest(name="contacts/0abcdefghijklmnopqrstuvwxy")
ANSWER = contacts_pb2.Contact(
    name=REQUEST.name,
    uid="01a20350-9822-7205-97bd-e0332df6c3d6",
    etag="0123456789abcdef",
    display_name="Ada Lovelace",
    emails=[contacts_pb2.EmailAddress(address="ada@example.org")],
    labels={"segment": "gold"},
)
ANSWER_BYTES = ANSWER.SerializeToString()
TRAILERS = (("request-id", ANSWER.uid),)
REPEATS, TIMES, BURST = 50, 200, 100
ROUNDS, IN_FLIGHT, SECONDS = 7, 32, 2.0


def _microseconds(part: Callable[[], object], times: int = TIMES) -> float:
    """Return what a part costs: the least of many rounds."""
    least = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(times):
            part()
        least = min(least, time.perf_counter() - began)
    return least / times * 1e6


def _at_once(awaitable: Coroutine[Any, Any, Principal]) -> Principal:
    """Return what a coroutine comes to that waits for nothing."""
    try:
        awaitable.send(None)
    except StopIteration as stop:
        principal: Principal = stop.value
        return principal
    raise AssertionError("it waits")


def _parts(context: Context, access: Access, metrics: Metrics) -> dict[str, float]:
    """Return what each part of the chain costs, in microseconds."""
    lines = Lines(Path(os.devnull).open("wb"))  # noqa: SIM115
    log = CallLog(lines, "contacts", "INFO").of(METHOD)
    calls, deadlines, check = metrics.calls.of(METHOD), Deadlines(), checker(type(REQUEST))
    raw, token, request_id = REQUEST.SerializeToString(), token_of(context), new_request_id()
    trailers = (("request-id", request_id),)
    principal = _at_once(access.allow(token, Outcome(log, "")))

    def deadline() -> None:
        context.time_remaining()
        with deadlines.at(time.monotonic() + METHOD.deadline_seconds):
            pass

    def count() -> None:
        calls.started += 1
        calls.received += 1
        calls.sent += 1
        calls.end(grpc.StatusCode.OK, 0.001)

    def line() -> None:
        outcome = Outcome(log, context.peer())
        outcome.request_id = request_id
        outcome.end(grpc.StatusCode.OK)

    def burst() -> None:
        for _ in range(BURST):
            line()
        lines.flush()

    outcome = Outcome(log, "")
    costs: dict[str, Callable[[], object]] = {
        "metadata, token": lambda: token_of(context),
        "access": lambda: _at_once(access.allow(token, outcome)),
        "deadline": deadline,
        "parsing": lambda: type(REQUEST).FromString(raw),
        "validation": lambda: check(REQUEST, raw),
        "request id": new_request_id,
        "digest (of writes)": lambda: digest_of(REQUEST),
        "call": lambda: Call(METHOD, principal, token, request_id, b"", 0.0),
        "serialisation": lambda: ANSWER.SerializeToString(deterministic=True),
        "trailers": lambda: context.set_trailing_metadata(trailers),
        "metrics": count,
    }
    found = {name: _microseconds(part) for name, part in costs.items()}
    return {**found, "log line": _microseconds(burst, TIMES // BURST) / BURST}


class Service:
    """The handlers of the server that is measured: with the chain, without it, and for parts."""

    def __init__(self, folder: Path) -> None:
        own = Issuer(
            issuer=TOKEN_ISSUER,
            audiences=[TOKEN_AUDIENCE],
            algorithms=["EdDSA"],
            jwks_file=folder / "keys" / "jwks.json",
            roles_claim="roles",
            subject_prefix="",
        )
        tokens = Tokens(Issuers(own, None))
        roles = Roles(ServiceSettings.model_fields["roles_file"].default)
        self._metrics = Metrics()
        call_log = CallLog(configure_logs("contacts", "INFO"), "contacts", "INFO")
        chain = Chain(tokens, roles, self._metrics, no_span, call_log)
        self._access = Access(tokens, roles, METHOD)
        stream_unary = grpc.stream_unary_rpc_method_handler
        self.handlers: dict[str, Any] = {
            METHOD.path: chain.handler(METHOD, self._answer),
            BARE_PATH: stream_unary(self._bare),
            PARTS_PATH: stream_unary(self._parts),
        }

    async def _answer(self, _request: Message, _call: Call) -> Message:
        return ANSWER

    async def _bare(self, _messages: AsyncIterator[bytes], context: Context) -> bytes:
        await context.read()
        context.set_trailing_metadata(TRAILERS)
        return ANSWER_BYTES

    async def _parts(self, _messages: AsyncIterator[bytes], context: Context) -> bytes:
        await context.read()
        return json.dumps(_parts(context, self._access, self._metrics)).encode()


class Handlers(grpc.GenericRpcHandler):
    """Finds the handler of a path."""

    def __init__(self, handlers: dict[str, Any]) -> None:
        self._handlers = handlers

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call."""
        return self._handlers.get(details.method)


async def serve(address: str, folder: Path) -> None:
    """Serve until the process is stopped."""
    settings = ServiceSettings(database_url="sqlite://", listen=address, metrics_listen="")
    server = make_server(settings)
    server.add_generic_rpc_handlers((Handlers(Service(folder).handlers),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


@contextmanager
def _served(folder: Path) -> Iterator[tuple[int, str]]:
    """Give the process id and the address of a server in a process of its own."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "bench.chain", address, str(folder)]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log) as process,  # noqa: S603
    ):
        try:
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(timeout=20)
            yield process.pid, address
        finally:
            process.terminate()


def _in_flight(pid: int, address: str, path: str, token: str) -> float:
    """Return the CPU time of a call in microseconds, with others in flight."""
    caller = Caller([Target(address, path, token)])
    before = cpu_seconds([pid])
    answers = caller.in_flight(repeat(REQUEST.SerializeToString()), IN_FLIGHT, SECONDS)
    seconds = cpu_seconds([pid]) - before
    caller.close()
    if answers.failures:
        raise RuntimeError(f"calls failed: {dict(answers.failures)}")
    return seconds / answers.ended * 1e6


def report(folder: Path) -> Table:
    """Measure, and return the table; the folder gets keys and a log."""
    ensure_signing_key(folder)
    with _served(folder) as (pid, address):
        token = mint_token(folder, subject="bench", roles=["admin"])
        with grpc.insecure_channel(address) as channel:
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PARTS_PATH)
            metadata = (("authorization", f"Bearer {token}"),)
            parts: dict[str, float] = json.loads(ask(b"", timeout=120, metadata=metadata))
        rounds = [
            [_in_flight(pid, address, path, token) for path in (BARE_PATH, METHOD.path)]
            for _ in range(ROUNDS)
        ]
    table = Table(title=f"The chain around {METHOD.name}, part by part")
    table.add_column("part")
    table.add_column("µs", justify="right")
    for name, cost in parts.items():
        table.add_row(name, f"{cost:.2f}")
    table.add_section()
    table.add_row("all parts, one after the other", f"{sum(parts.values()):.1f}")
    table.add_row(f"a bare call, CPU with {IN_FLIGHT} in flight", _middle([b for b, _ in rounds]))
    table.add_row("a call through the chain, likewise", _middle([c for _, c in rounds]))
    table.add_row("what the chain adds, of each pair", _middle([c - b for b, c in rounds]))
    return table


def _middle(costs: Sequence[float]) -> str:
    return f"{median(costs):.0f} ({min(costs):.0f} to {max(costs):.0f})"


def main() -> None:
    """Serve at the address and with the keys that the command line names."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1], Path(sys.argv[2])))


if __name__ == "__main__":
    main()
