"""The chain around a method, served over real gRPC with methods of the test's own."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from services.chassis.call import Call
from services.chassis.call_log import CallLog
from services.chassis.chain import Chain
from services.chassis.issuers import Issuer, Issuers
from services.chassis.lines import Lines
from services.chassis.metrics import Metrics
from services.chassis.policy import methods_of
from services.chassis.roles import Roles
from services.chassis.settings import ServiceSettings
from services.chassis.tokens import Tokens
from services.chassis.tracing import no_span
from services.command.keys import ensure_signing_key, mint_token
from vafa.contacts.v1 import contacts_pb2

Contact = contacts_pb2.Contact
Method = Callable[[Any, Call], Awaitable[Any]]
GET = next(
    method
    for method in methods_of(contacts_pb2.DESCRIPTOR.services_by_name["ContactService"])
    if method.name == "GetContact"
)
LABELS = {"grpc_type": "unary", "grpc_service": GET.service, "grpc_method": GET.name}
ROLES_FILE = ServiceSettings.model_fields["roles_file"].default


@dataclass
class Served:
    """GetContact as a test wants it, behind the chain."""

    folder: Path
    channel: grpc.aio.Channel
    metrics: Metrics
    _lines: Lines
    _written: io.BytesIO
    metadata: list[tuple[str, str]] = field(default_factory=list)

    def call(
        self, request: bytes = b"", timeout: float = 30
    ) -> "grpc.aio.UnaryUnaryCall[bytes, bytes]":
        """Call it, with a token of an administrator unless `metadata` has another."""
        asks: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(GET.path)
        token = mint_token(self.folder, subject="tester", roles=["admin"])
        metadata = self.metadata or [("authorization", f"Bearer {token}")]
        valid = contacts_pb2.GetContactRequest(name="contacts/ada").SerializeToString()
        return asks(request or valid, timeout=timeout, metadata=metadata)

    def lines(self) -> list[Mapping[str, Any]]:
        """Return the lines of the log."""
        self._lines.flush()
        return [json.loads(line) for line in self._written.getvalue().splitlines()]

    def raw_lines(self) -> bytes:
        """Return the log as it is written."""
        self._lines.flush()
        return self._written.getvalue()

    def counted(self, name: str, **labels: str) -> float | None:
        """Return the value of a series of the method."""
        return self.metrics.registry.get_sample_value(name, {**LABELS, **labels})

    def ended(self) -> dict[str, float]:
        """Return how many calls have ended, by their codes, for those that some have."""
        codes = ("OK", "Canceled", "Internal", "DeadlineExceeded", "Unauthenticated", "NotFound")
        name = "grpc_server_handled_total"
        return {code: n for code in codes if (n := self.counted(name, grpc_code=code))}


@asynccontextmanager
async def serving(folder: Path, method: Method, level: str = "INFO") -> AsyncIterator[Served]:
    """Serve a method under the name and the policy of GetContact."""
    ensure_signing_key(folder)
    own = Issuer(
        issuer="vafa-local",
        audiences=["vafa"],
        algorithms=["EdDSA"],
        jwks_file=folder / "keys" / "jwks.json",
        roles_claim="roles",
        subject_prefix="",
    )
    written, metrics = io.BytesIO(), Metrics()
    lines = Lines(written)
    call_log = CallLog(lines, "contacts", level)
    chain = Chain(Tokens(Issuers(own, None)), Roles(ROLES_FILE), metrics, no_span, call_log)
    server = grpc.aio.server()
    handler = chain.handler(GET, method)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(GET.service, {GET.name: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(folder, channel, metrics, lines, written)
    await server.stop(None)


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.005)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason that a refusal gives."""
    [details] = [v for k, v in error.trailing_metadata() if k == "grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(details).details[0].Unpack(info)
    return str(info.reason)


async def refused(served: Served, **call: Any) -> grpc.aio.AioRpcError:
    """Call, and return the refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await served.call(**call)
    return error.value


async def answers(_request: Any, _call: Call) -> Contact:
    """Answer."""
    return Contact(name="contacts/ada", display_name="Ada")


async def never_answers(_request: Any, _call: Call) -> Contact:
    """Wait for what does not come."""
    await asyncio.Event().wait()
    raise AssertionError


def test_an_answer_that_cannot_be_sent_is_a_defect_counted_and_told_once(tmp_path: Path) -> None:
    async def answers_nothing(_request: Any, _call: Call) -> None:
        return None

    async def work() -> None:
        async with serving(tmp_path, answers_nothing) as served:
            error = await refused(served)
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.INTERNAL, "INTERNAL")
            assert served.ended() == {"Internal": 1}
            assert served.counted("grpc_server_msg_sent_total") == 0
            assert [line["code"] for line in served.lines()] == ["INTERNAL"]

    asyncio.run(work())


def test_bytes_that_stand_for_the_answer_are_sent_as_they_are(tmp_path: Path) -> None:
    # Fields out of their order, as no message is written.
    stored = Contact(display_name="Ada").SerializeToString()
    stored += Contact(name="contacts/ada").SerializeToString()
    assert Contact.FromString(stored).SerializeToString() != stored

    async def answers_as_stored(request: Any, call: Call) -> Contact:
        call.serialized, call.replayed = stored, True
        return Contact.FromString(stored)

    async def work() -> None:
        async with serving(tmp_path, answers_as_stored) as served:
            call = served.call()
            assert await call == stored
            assert dict(await call.trailing_metadata())["idempotency-replayed"] == "true"
            assert [line["replayed"] for line in served.lines()] == [True]

    asyncio.run(work())


def test_a_call_without_a_request_id_is_told_under_a_new_one(tmp_path: Path) -> None:
    seen: list[str] = []

    async def tells(_request: Any, call: Call) -> Contact:
        seen.append(call.request_id)
        return Contact()

    async def work() -> None:
        async with serving(tmp_path, tells) as served:
            told = []
            for _ in range(2):
                call = served.call()
                await call
                told.append(dict(await call.trailing_metadata())["request-id"])
            assert told == seen == [line["request_id"] for line in served.lines()]
            assert len(set(told)) == 2

    asyncio.run(work())


def test_a_method_that_takes_too_long_is_ended_and_the_caller_told_in_time(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, never_answers) as served:
            error = await refused(served, timeout=1)
            # The service's own word, and not that of the client.
            assert reason_of(error) == "DEADLINE_EXCEEDED"
            assert served.ended() == {"DeadlineExceeded": 1}
            [line] = served.lines()
            assert (line["code"], line["principal"]) == ("DEADLINE_EXCEEDED", "tester")
            assert 800 < line["duration_ms"] < 1000

    asyncio.run(work())


def test_a_caller_who_hangs_up_is_counted_and_told_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, never_answers) as served:
            call = served.call()
            await until(lambda: served.counted("grpc_server_msg_received_total"))
            call.cancel()
            await until(served.ended)
            assert served.ended() == {"Canceled": 1}
            [line] = served.lines()
            assert (line["code"], line["level"], line["reason"]) == ("CANCELLED", "info", "")
            assert line["request_id"]

    asyncio.run(work())


def test_a_line_is_ascii_whoever_calls(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, answers) as served:
            token = mint_token(tmp_path, subject="آدا \U0001f600", roles=["admin"])
            served.metadata = [("authorization", f"Bearer {token}")]
            await served.call()
            assert served.raw_lines().isascii()
            assert [line["principal"] for line in served.lines()] == ["آدا \U0001f600"]

    asyncio.run(work())


def test_a_log_of_warnings_tells_only_of_defects(tmp_path: Path) -> None:
    fails: list[bool] = []

    async def work() -> None:
        async def may_fail(request: Any, call: Call) -> Contact:
            if fails:
                raise RuntimeError
            return await answers(request, call)

        async with serving(tmp_path, may_fail, level="WARNING") as served:
            await served.call()
            assert served.lines() == []
            fails.append(True)
            await refused(served)
            assert [(line["code"], line["level"]) for line in served.lines()] == [
                ("INTERNAL", "error")
            ]

    asyncio.run(work())


def test_a_caller_who_was_let_in_is_not_taken_for_another(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, answers) as served:
            await served.call()
            stranger = mint_token(tmp_path, subject="stranger", roles=["nobody"])
            for token, code in (
                (stranger, grpc.StatusCode.PERMISSION_DENIED),
                (stranger[:-4] + "AAAA", grpc.StatusCode.UNAUTHENTICATED),
                ("", grpc.StatusCode.UNAUTHENTICATED),
            ):
                served.metadata = [("authorization", f"Bearer {token}")]
                assert (await refused(served)).code() is code
            served.metadata = []
            await served.call()
            told = [(line["principal"], line["code"]) for line in served.lines()]
            assert told == [
                ("tester", "OK"),
                ("stranger", "PERMISSION_DENIED"),
                ("", "UNAUTHENTICATED"),
                ("", "UNAUTHENTICATED"),
                ("tester", "OK"),
            ]

    asyncio.run(work())
