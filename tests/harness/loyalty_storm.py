"""A storm of writes over the replicas of a loyalty service, and the judgement of what it did."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from tests.harness.loyalty_asks import Club, Mixture, require_own_answer, require_own_refusal
from tests.harness.loyalty_books import Books
from tests.harness.storm import PATIENT, Ask, Impatience, Replica, Reply, Storm, Volley, rage
from tests.harness.suite import RunningSuite
from vafa.loyalty.v1 import ledger_pb2, orders_pb2

IN_FLIGHT = 32
REPLICAS = ("loyalty", "loyalty-2")
Meanwhile = Callable[[Storm], Coroutine[Any, Any, None]]


class Weather:
    """A club before a storm, and the storms that are let loose on it."""

    def __init__(self, running: RunningSuite, club: Club, seed: int) -> None:
        self.running = running
        self.club = club
        self.mixture = Mixture(club, seed)
        self.replicas = [name for name in REPLICAS if name in running.addresses]
        self._before = self._books()

    def _books(self) -> Books:
        return Books(self.running.database_urls["loyalty"])

    def connect(self, *roles: str, subject: str = "tester") -> list[Replica]:
        """Connect to all replicas, within an event loop."""
        addresses, token = self.running.addresses, self.running.token(*roles, subject=subject)
        return [Replica(name, addresses[name], token) for name in self.replicas]

    def storm(self, volleys_count: int, impatience: Impatience = PATIENT) -> Storm:
        """Ask so many volleys of the mixture, and all of it again that was not settled."""
        storm, volleys = Storm(), self.mixture.volleys(volleys_count)

        async def rages() -> None:
            await self._rage(storm, volleys, impatience)

        asyncio.run(rages())
        return storm

    def storm_while(self, meanwhile: Meanwhile, impatience: Impatience = PATIENT) -> Storm:
        """Move points and record orders as long as something goes on, and settle all of it."""
        storm = Storm()

        async def rages() -> None:
            over = asyncio.create_task(meanwhile(storm))
            await self._rage(storm, _until(over, self.mixture.movements()), impatience)
            await over

        asyncio.run(rages())
        return storm

    async def _rage(self, storm: Storm, volleys: Iterator[Volley], impatience: Impatience) -> None:
        replicas = self.connect()
        try:
            await rage(storm, replicas, volleys, in_flight=IN_FLIGHT, impatience=impatience)
        finally:
            await asyncio.gather(*(replica.close() for replica in replicas))

    def require_one_effect_each(self, storm: Storm) -> None:
        """Fail unless each request that was answered had its effect once, and no other any."""
        for ask, replies in storm.settled().items():
            _require_alike(ask, replies)
        acknowledged = storm.acknowledged()
        for rivals in self.mixture.rivals:
            assert sum(ask in acknowledged for ask in rivals) == 1
        books = self._books()
        books.require_right()
        news = books.since(self._before)
        answers = {(ask.path, ask.request.request_id): ask for ask in acknowledged}
        assert not news.answers.keys() - answers.keys()
        assert not answers.keys() - news.answers.keys()
        for key, ask in answers.items():
            assert news.answers[key].response == acknowledged[ask].body
        told = [reply.message for reply in acknowledged.values()]
        movements = [movement for message in told for movement in _movements_of(message)]
        posted = {name: row for name, row in news.transactions.items() if not row.order_id}
        assert sorted(posted) == sorted(movement.name for movement in movements)
        for movement in movements:
            assert posted[movement.name].points_balance == movement.points_balance
        assert news.orders.keys() == {order.name for one in told for order in _orders_of(one)}
        assert {event.request_id for event in news.told} <= {id_ for _, id_ in answers}
        self._require_verified()

    def _require_verified(self) -> None:
        with self.running.client() as client:
            request = ledger_pb2.VerifyLedgerRequest(parent=self.club.program)
            operation = client.ledger.VerifyLedger(request)
            found: ledger_pb2.VerifyLedgerResponse = client.wait(operation, timeout_seconds=30)
        assert found.members_checked > 0
        assert not found.violations


def _until(over: asyncio.Task[None], volleys: Iterator[Volley]) -> Iterator[Volley]:
    while not over.done():
        yield next(volleys)


def _require_alike(ask: Ask, replies: Sequence[Reply]) -> None:
    """Fail unless a request got its own answer, always the same, or its own refusal."""
    answers = [reply for reply in replies if not reply.error]
    for reply in replies:
        assert reply.reason in ask.reasons, reply
        if reply.error:
            require_own_refusal(reply)
            assert not any(answer.ended_at < reply.began_at for answer in answers), reply
        else:
            require_own_answer(reply)
    assert len({reply.body for reply in answers}) <= 1


def _movements_of(message: Any) -> Sequence[ledger_pb2.LedgerTransaction]:
    if isinstance(message, ledger_pb2.BatchAwardPointsResponse):
        return message.ledger_transactions
    return [message] if isinstance(message, ledger_pb2.LedgerTransaction) else []


def _orders_of(message: Any) -> Sequence[orders_pb2.Order]:
    if isinstance(message, orders_pb2.BatchRecordOrdersResponse):
        return message.orders
    return [message] if isinstance(message, orders_pb2.Order) else []
