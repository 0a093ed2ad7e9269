"""Hot commands, which go in groups: gathered, decided and written together.

What queued while the last group committed is the next one. A group of one is the single form.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from sqlalchemy import Connection

from services.chassis import errors
from services.chassis.call import Call
from services.chassis.fairness import RoundRobin
from services.chassis.idempotency import Key, answer_for, key_of, store_answers, stored_answers
from services.chassis.schema import ChassisTables
from services.chassis.withholding import without_secrets
from services.chassis.writes import Writes, finish

Q = TypeVar("Q")
S = TypeVar("S")
M = TypeVar("M", bound=Message)

LARGEST_GROUP = 64
# Of so many groups it is remembered how long they took.
REMEMBERED = 64
LONGEST_NEED_SECONDS = 0.25


@dataclass(frozen=True, eq=False)
class BatchCommand(Generic[Q, S, M]):
    """A hot command.

    `gather(connection, requests)` locks, in the one order of the service, and reads all that the
    requests may need, in as few statements as it can. `decide(state, request, writes)` is pure:
    no clock, database, log or network. It raises a Refusal before it has changed the state;
    otherwise it changes the state as its writes will change the rows, since the next command of
    the group decides on it, and puts its writes on `writes`.
    """

    name: str
    gather: Callable[[Connection, Sequence[Q]], S]
    decide: Callable[[S, Q, Writes], M]


@dataclass(frozen=True)
class Answer(Generic[M]):
    """What a command came to; `serialized` are the bytes of an answer that is stored as it is."""

    message: M
    serialized: bytes | None
    replayed: bool


@dataclass(eq=False)
class Asked(Generic[Q, M]):
    """A command that waits for its answer.

    `given` holds the answers of its earlier runs by their bytes: a commit whose confirmation was
    lost may have happened, and then its answer is found stored, but is whole only here.
    """

    call: Call
    request: Q
    future: asyncio.Future[Answer[M]]
    given: dict[bytes, M] = field(default_factory=dict)


Outcome = Answer[Any] | Exception


def run_group(
    connection: Connection,
    tables: ChassisTables,
    command: BatchCommand[Q, Any, M],
    group: Sequence[Asked[Q, M]],
    *,
    number_events_now: bool,
) -> tuple[list[Outcome], int, int]:
    """Decide and write a group within the transaction of the connection.

    Returns what each command came to, and how many events there are and have their position.
    Raises RunAgain; a Refusal that it raises is of no one command.
    """
    state = command.gather(connection, [asked.request for asked in group])
    # After the locks: a twin on another replica holds one of them until its answer is stored.
    stored = stored_answers(connection, tables.idempotency, [asked.call for asked in group])
    now = datetime.now(UTC)
    outcomes: list[Outcome] = []
    decided: list[Writes] = []
    answers: list[tuple[Call, bytes]] = []
    for asked in group:
        try:
            found = stored.get(key_of(asked.call))
            if found is not None:
                outcomes.append(_repeated(asked, answer_for(asked.call, found)))
                continue
            writes = Writes(now, asked.call)
            message = command.decide(state, asked.request, writes)
        except errors.Refusal as refusal:
            outcomes.append(refusal)
            continue
        answer, to_store = answered(message)
        asked.given[to_store] = message
        decided.append(writes)
        answers.append((asked.call, to_store))
        outcomes.append(answer)
    if not decided:
        return outcomes, 0, 0
    store_answers(connection, tables.idempotency, answers, now)
    told, numbered = finish(connection, tables, decided, number_events_now=number_events_now)
    return outcomes, told, numbered


def answered(message: M) -> tuple[Answer[M], bytes]:
    """Return the answer that a message is, and the bytes to store of it."""
    public = without_secrets(message)
    to_store = public.SerializeToString(deterministic=True)
    return Answer(message, to_store if public is message else None, replayed=False), to_store


def _repeated(asked: Asked[Any, M], stored: bytes) -> Answer[M]:
    if stored in asked.given:
        whole = asked.given[stored]
        return Answer(whole, None, replayed=False)
    response: Any = asked.call.method.response_class.FromString(stored)
    return Answer(response, stored, replayed=True)


class Groups(Generic[Q, M]):
    """Forms the groups of one command and has them run, one after the other."""

    def __init__(
        self,
        run: Callable[[Sequence[Asked[Q, M]]], Awaitable[Sequence[Outcome]]],
        waiting_limit: int,
    ) -> None:
        self._run = run
        self._limit = waiting_limit
        self._waiting: RoundRobin[Asked[Q, M]] = RoundRobin()
        self._took: deque[float] = deque(maxlen=REMEMBERED)
        self._task: asyncio.Task[None] | None = None

    async def ask(self, call: Call, request: Q) -> Answer[M]:
        """Return what the command came to; raises its refusal, and Overloaded if too many wait."""
        if not self._waiting.has_room(call.principal.subject, self._limit):
            raise errors.Overloaded("too many calls wait", retry_delay_seconds=0.5)
        future: asyncio.Future[Answer[M]] = asyncio.get_running_loop().create_future()
        self._waiting.put(call.principal.subject, Asked(call, request, future))
        if self._task is None:
            self._task = asyncio.create_task(self._serve())
        return await future

    async def _serve(self) -> None:
        try:
            while group := self._next():
                began = time.monotonic()
                try:
                    outcomes = await self._run(group)
                except Exception as error:
                    outcomes = [error] * len(group)
                self._took.append(time.monotonic() - began)
                for asked, outcome in zip(group, outcomes, strict=True):
                    _tell(asked.future, outcome)
        finally:
            self._task = None

    def _next(self) -> list[Asked[Q, M]]:
        """Take the next group: who has given up is left out, and who cannot be in time refused."""
        # After a stall nobody who has time is refused for it.
        needed_seconds = min(2 * self._slow_seconds(), LONGEST_NEED_SECONDS)
        group: list[Asked[Q, M]] = []
        keys: set[Key] = set()
        twins: list[Asked[Q, M]] = []
        while self._waiting and len(group) < LARGEST_GROUP:
            asked = self._waiting.take()
            if asked.future.done():
                continue
            if asked.call.remaining_seconds() < needed_seconds:
                text = "the deadline is too near; the call may be repeated"
                _tell(asked.future, errors.DeadlineExceeded(text))
                continue
            if key_of(asked.call) in keys:
                twins.append(asked)
                continue
            keys.add(key_of(asked.call))
            group.append(asked)
        for twin in twins:
            self._waiting.put(twin.call.principal.subject, twin)
        return group

    def _slow_seconds(self) -> float:
        """Return what 95 % of the last groups did not pass."""
        took = sorted(self._took)
        return took[int(len(took) * 0.95)] if took else 0.0


def _tell(future: asyncio.Future[Answer[M]], outcome: Outcome) -> None:
    if future.done():
        # Whoever asked has given up.
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
