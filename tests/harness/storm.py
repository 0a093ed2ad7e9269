"""Many callers of single replicas at once, some of whom hang up, and what each was told.

The calls are raw: bytes come back as they were sent, and nothing is repeated unless it is said so.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from vafa.descriptors import served_files
from vafa.errors import VafaError, error_from_call

OPTIONS = [
    ("grpc.enable_retries", 0),
    # Each with connections of its own, as callers of several processes are.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
]
METHODS = {
    method.input_type.full_name: (
        f"/{service.full_name}/{method.name}",
        GetMessageClass(method.output_type),
    )
    for file in served_files()
    for service in file.services_by_name.values()
    for method in service.methods
}
PATIENCE_SECONDS = 5.0
# What is no answer and no refusal of the request: whoever gets it may ask again.
UNSETTLED = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
# How often one who was not answered asks again, with a pause between.
REPEATS = 100
PAUSE_SECONDS = 0.1


@dataclass(frozen=True, eq=False)
class Ask:
    """A request, and the reasons that it may be refused with; an empty one is its answer."""

    request: Any
    reasons: frozenset[str] = frozenset({""})

    @property
    def path(self) -> str:
        """The method, `/<package>.<Service>/<Method>`."""
        return METHODS[self.request.DESCRIPTOR.full_name][0]


@dataclass(frozen=True)
class Reply:
    """What a caller was told: the body of an answer, or how the call failed.

    Times are monotonic. `hung_up` tells that the caller did not wait for it, or not for long.
    """

    ask: Ask
    replica: str
    code: grpc.StatusCode
    body: bytes
    error: VafaError | None
    trailers: dict[str, str]
    began_at: float
    ended_at: float
    hung_up: bool

    @property
    def settled(self) -> bool:
        """Whether it is the answer or the refusal of the request."""
        return self.code not in UNSETTLED

    @property
    def reason(self) -> str:
        """The reason of a refusal, or else the name of its code; empty for an answer."""
        return self.error.reason or self.code.name if self.error else ""

    @property
    def message(self) -> Any:
        """The answer."""
        return METHODS[self.ask.request.DESCRIPTOR.full_name][1].FromString(self.body)


class Replica:
    """A connection to one replica; use it within one event loop, and close it."""

    def __init__(self, name: str, address: str, token: str) -> None:
        self.name = name
        self._channel = grpc.aio.insecure_channel(address, OPTIONS)
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def ask(
        self,
        ask: Ask,
        *,
        timeout_seconds: float = PATIENCE_SECONDS,
        cancelled_after_seconds: float | None = None,
    ) -> Reply:
        """Call once, with a deadline, or until the caller hangs up."""
        began_at = time.monotonic()
        method: Any = self._channel.unary_unary(ask.path)
        request = ask.request.SerializeToString()
        call: grpc.aio.UnaryUnaryCall[bytes, bytes] = method(
            request, timeout=timeout_seconds, metadata=self._metadata
        )
        hangs_up = None
        if cancelled_after_seconds is not None:
            loop = asyncio.get_running_loop()
            hangs_up = loop.call_later(cancelled_after_seconds, call.cancel)
        body, error = b"", None
        try:
            body = await call
        except asyncio.CancelledError:
            if not call.cancelled():
                raise
        except grpc.aio.AioRpcError as failure:
            error = error_from_call(failure, ask.path)
        finally:
            if hangs_up:
                hangs_up.cancel()
        # Asked of a call that was cancelled, gRPC would wait.
        ended = () if call.cancelled() else await call.trailing_metadata()
        return Reply(
            ask=ask,
            replica=self.name,
            code=await call.code(),
            body=body,
            error=error,
            trailers={key: value for key, value in ended or () if isinstance(value, str)},
            began_at=began_at,
            ended_at=time.monotonic(),
            hung_up=cancelled_after_seconds is not None or timeout_seconds < PATIENCE_SECONDS,
        )

    async def ask_until_settled(self, ask: Ask) -> Reply:
        """Call, and again as long as there is neither an answer nor a refusal of the request."""
        for _ in range(REPEATS):
            reply = await self.ask(ask)
            if reply.settled:
                return reply
            await asyncio.sleep(PAUSE_SECONDS)
        raise AssertionError(f"never settled: {reply}")


@dataclass
class Storm:
    """What many callers were told: each of the calls, and the last of those who asked again."""

    replies: list[Reply] = field(default_factory=list)
    repeats: list[Reply] = field(default_factory=list)

    def settled(self) -> dict[Ask, list[Reply]]:
        """Return the answers and refusals of each request."""
        found: dict[Ask, list[Reply]] = {}
        for reply in (*self.replies, *self.repeats):
            if reply.settled:
                found.setdefault(reply.ask, []).append(reply)
        return found

    def acknowledged(self) -> dict[Ask, Reply]:
        """Return the requests that were answered, each with its first answer."""
        answers = [reply for reply in (*self.replies, *self.repeats) if reply.settled]
        return {reply.ask: reply for reply in reversed(answers) if not reply.error}

    async def grow(self, count: int, replica: str) -> None:
        """Wait until so many more calls of a replica are settled."""

        def settled() -> int:
            return sum(one.settled for one in self.replies if one.replica == replica)

        enough = settled() + count
        while settled() < enough:
            await asyncio.sleep(PAUSE_SECONDS / 4)

    def in_doubt(self) -> list[Ask]:
        """Return the requests that may have had an effect, and were not answered."""
        acknowledged = self.acknowledged()
        unsettled = [reply.ask for reply in self.replies if not reply.settled]
        return [ask for ask in dict.fromkeys(unsettled) if ask not in acknowledged]

    def patient(self) -> list[Reply]:
        """Return what those were told who did not hang up."""
        return [reply for reply in self.replies if not reply.hung_up]


@dataclass(frozen=True)
class Impatience:
    """How many of the calls hang up: some cancel, the others have a deadline, of milliseconds."""

    share: float
    longest_seconds: float = 0.2

    def of_next(self, dice: random.Random) -> dict[str, float]:
        """Return how the next call hangs up, if it does."""
        if dice.random() >= self.share:
            return {}
        seconds = math.exp(dice.uniform(math.log(0.0005), math.log(self.longest_seconds)))
        return {dice.choice(["timeout_seconds", "cancelled_after_seconds"]): seconds}


PATIENT = Impatience(0)
Volley = Sequence[Ask]


async def rage(
    storm: Storm,
    replicas: Sequence[Replica],
    volleys: Iterable[Volley],
    *,
    in_flight: int,
    impatience: Impatience = PATIENT,
) -> None:
    """Ask all that is given, so many calls in flight at each replica, then repeat what is in doubt.

    The requests of one volley go at the same moment, each to the next replica. Those that are
    in doubt are asked again, at any replica, until they are settled.
    """
    left, dice = iter(volleys), random.Random(in_flight)  # noqa: S311
    others: set[asyncio.Task[None]] = set()

    async def once(ask: Ask, replica: Replica) -> None:
        reply = await replica.ask(ask, **impatience.of_next(dice))
        storm.replies.append(reply)
        if not (reply.settled or reply.hung_up):
            await asyncio.sleep(PAUSE_SECONDS)

    async def caller(place: int) -> None:
        for volley in left:
            for n, ask in enumerate(volley[1:], 1):
                others.add(asyncio.create_task(once(ask, replicas[(place + n) % len(replicas)])))
            await once(volley[0], replicas[place])

    places = [n for n in range(len(replicas)) for _ in range(in_flight)]
    await gather(caller(place) for place in places)
    await gather(others)
    gate = asyncio.Semaphore(in_flight * len(replicas))

    async def again(ask: Ask) -> None:
        async with gate:
            storm.repeats.append(await dice.choice(replicas).ask_until_settled(ask))

    # Twice, since a call without an answer may have had its effect after the first refusal.
    for _ in range(2):
        await gather(again(ask) for ask in storm.in_doubt())


async def gather(works: Iterable[Awaitable[None]]) -> None:
    """Do all of the works at once; the first failure ends them."""
    await asyncio.gather(*works)


def overtakers(replies: Sequence[Reply]) -> int:
    """Return by how many who began after it, at most, one who waited was overtaken."""
    most, ended = 0, sorted(replies, key=lambda reply: reply.ended_at)
    for n, reply in enumerate(ended):
        most = max(most, sum(earlier.began_at > reply.began_at for earlier in ended[:n]))
    return most
