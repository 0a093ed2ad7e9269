"""What many callers ask of a loyalty service at once: a mixture in which requests collide."""

import random
import uuid
from collections.abc import Callable, Iterator, Sequence

import vafa
from tests.harness.factories import an_earning_program, euros
from tests.harness.storm import Ask, Reply, Volley
from vafa.loyalty.v1 import ledger_pb2, members_pb2, orders_pb2

HOT, MEMBERS = 10, 1000
# How many of them are enrolled in one call.
AT_ONCE = 250
FIRST_POINTS = 100
# More than any member ever has.
TOO_MANY_POINTS = 10**11
ANSWERED = frozenset({""})
MAYBE_TOO_FEW = frozenset({"", "INSUFFICIENT_POINTS"})


def award(member: str, points: int, request_id: str = "") -> ledger_pb2.AwardPointsRequest:
    """Return a request for an award, whose reason is its id."""
    id_ = request_id or str(uuid.uuid4())
    return ledger_pb2.AwardPointsRequest(member=member, points=points, reason=id_, request_id=id_)


def spend(member: str, points: int) -> ledger_pb2.SpendPointsRequest:
    """Return a request for a spending, whose reason is its id."""
    id_ = str(uuid.uuid4())
    return ledger_pb2.SpendPointsRequest(member=member, points=points, reason=id_, request_id=id_)


def an_order(
    contact: str, external_id: str = "", units: int = 5, currency_code: str = "EUR"
) -> orders_pb2.Order:
    """Return an order of one line, which earns as many points as it has units."""
    line = orders_pb2.OrderLine(
        sku="tea", quantity=1, amount=euros(units, currency_code=currency_code)
    )
    external_id = external_id or str(uuid.uuid4())
    return orders_pb2.Order(external_id=external_id, contact=contact, lines=[line])


def a_stranger() -> str:
    """Return a contact whom nobody has seen."""
    return f"contacts/{uuid.uuid4()}"


class Club:
    """A programme of many members, some of whom are hot, and what has been asked in it."""

    def __init__(self, client: vafa.Suite) -> None:
        self.program = an_earning_program(client)
        orders = [an_order(a_stranger(), units=FIRST_POINTS) for _ in range(MEMBERS)]
        recorded = [
            order
            for n in range(0, MEMBERS, AT_ONCE)
            for order in client.orders.BatchRecordOrders(
                self.record_all(orders[n : n + AT_ONCE])
            ).orders
        ]
        self.recorded = orders[0]
        self.members = [order.member for order in recorded]
        self.contacts = [order.contact for order in recorded]
        self.hot = self.members[:HOT]
        self.used_id = str(uuid.uuid4())
        client.ledger.AwardPoints(award(self.hot[0], 1, self.used_id))

    def record(self, order: orders_pb2.Order) -> orders_pb2.RecordOrderRequest:
        """Return a request to record an order."""
        id_ = str(uuid.uuid4())
        return orders_pb2.RecordOrderRequest(parent=self.program, order=order, request_id=id_)

    def record_all(self, orders: Sequence[orders_pb2.Order]) -> orders_pb2.BatchRecordOrdersRequest:
        """Return a request to record several orders."""
        id_ = str(uuid.uuid4())
        return orders_pb2.BatchRecordOrdersRequest(
            parent=self.program, orders=orders, request_id=id_
        )

    def award_all(self, members: Sequence[str]) -> ledger_pb2.BatchAwardPointsRequest:
        """Return a request to award points to each of the members."""
        id_ = str(uuid.uuid4())
        awards = [
            ledger_pb2.AwardPointsRequest(member=member, points=2, reason=id_) for member in members
        ]
        return ledger_pb2.BatchAwardPointsRequest(
            parent=self.program, requests=awards, request_id=id_
        )


class Mixture:
    """Volleys of requests of a club; `rivals` are pairs of which exactly one can be answered."""

    def __init__(self, club: Club, seed: int) -> None:
        self._club = club
        self._dice = random.Random(seed)  # noqa: S311
        self.rivals: list[Volley] = []
        self._kinds: dict[Callable[[], Volley], float] = {
            self._alone: 73,
            self._twins: 10,
            self._first_orders: 5,
            self._order_twice: 2,
            self._orders_crosswise: 1,
            self._awards_crosswise: 2,
            self._enrolment_and_order: 1,
            self._rivals_for_a_request_id: 1,
            self._rivals_for_an_external_id: 1,
            self._refused: 5,
        }

    def volleys(self, count: int) -> Iterator[Volley]:
        """Return so many volleys."""
        for _ in range(count):
            (kind,) = self._dice.choices(list(self._kinds), list(self._kinds.values()))
            yield kind()

    def movements(self) -> Iterator[Volley]:
        """Return awards, spendings and orders of members without end, and now and then twins."""
        while True:
            yield self._twins() if self._dice.random() < 0.1 else self._alone()

    def _member(self) -> str:
        club = self._club
        return self._dice.choice(club.hot if self._dice.random() < 0.5 else club.members)

    def _alone(self) -> Volley:
        points = self._dice.randint(1, 50)
        drawn = self._dice.random()
        if drawn < 0.45:
            return [Ask(award(self._member(), points))]
        if drawn < 0.8:
            return [Ask(spend(self._member(), points), MAYBE_TOO_FEW)]
        return [Ask(self._club.record(an_order(self._dice.choice(self._club.contacts))))]

    def _twins(self) -> Volley:
        (ask,) = self._alone()
        return [ask, ask]

    def _first_orders(self) -> Volley:
        contact = a_stranger()
        return [Ask(self._club.record(an_order(contact))) for _ in range(2)]

    def _order_twice(self) -> Volley:
        order = an_order(a_stranger())
        return [Ask(self._club.record(order)) for _ in range(2)]

    def _orders_crosswise(self) -> Volley:
        contacts = [a_stranger() for _ in range(3)] + self._dice.sample(self._club.contacts, 2)
        batch = [an_order(contact) for contact in contacts]
        other = [an_order(contact) for contact in reversed(contacts)]
        return [Ask(self._club.record_all(orders)) for orders in (batch, other)]

    def _awards_crosswise(self) -> Volley:
        members = self._dice.sample(self._club.hot, 5)
        return [Ask(self._club.award_all(some)) for some in (members, members[::-1])]

    def _enrolment_and_order(self) -> Volley:
        contact = a_stranger()
        enrolment = members_pb2.CreateMemberRequest(
            parent=self._club.program,
            member=members_pb2.Member(contact=contact),
            request_id=str(uuid.uuid4()),
        )
        order = Ask(self._club.record(an_order(contact)))
        return [Ask(enrolment, frozenset({"", "RESOURCE_ALREADY_EXISTS"})), order]

    def _rivals_for_a_request_id(self) -> Volley:
        id_, reasons = str(uuid.uuid4()), frozenset({"", "REQUEST_ID_REUSED"})
        self.rivals.append([Ask(award(self._member(), points, id_), reasons) for points in (1, 2)])
        return self.rivals[-1]

    def _rivals_for_an_external_id(self) -> Volley:
        id_, reasons = str(uuid.uuid4()), frozenset({"", "ORDER_ALREADY_RECORDED"})
        orders = [an_order(a_stranger(), id_) for _ in range(2)]
        self.rivals.append([Ask(self._club.record(order), reasons) for order in orders])
        return self.rivals[-1]

    def _refused(self) -> Volley:
        club = self._club
        nobody = f"{club.program}/members/nobody"
        changed = orders_pb2.Order()
        changed.CopyFrom(club.recorded)
        changed.lines[0].quantity += 1
        request, reason = self._dice.choice(
            [
                (award(nobody, 1), "RESOURCE_NOT_FOUND"),
                (spend(nobody, 1), "RESOURCE_NOT_FOUND"),
                (spend(self._member(), TOO_MANY_POINTS), "INSUFFICIENT_POINTS"),
                (club.record(changed), "ORDER_ALREADY_RECORDED"),
                (club.record(an_order(a_stranger(), currency_code="USD")), "CURRENCY_MISMATCH"),
                (award(self._member(), 2, club.used_id), "REQUEST_ID_REUSED"),
                (award(self._member(), 0), "INVALID_FIELD"),
                (club.award_all([club.hot[0], nobody]), "RESOURCE_NOT_FOUND"),
            ]
        )
        return [Ask(request, frozenset({reason}))]


def require_own_answer(reply: Reply) -> None:
    """Fail unless an answer is the one to its request."""
    asked, told = reply.ask.request, reply.message
    if isinstance(told, orders_pb2.Order):
        _require_order(asked.order, told)
    elif isinstance(told, orders_pb2.BatchRecordOrdersResponse):
        for order, recorded in zip(asked.orders, told.orders, strict=True):
            _require_order(order, recorded)
    elif isinstance(told, ledger_pb2.BatchAwardPointsResponse):
        for one, posted in zip(asked.requests, told.ledger_transactions, strict=True):
            _require_movement(one, posted)
    elif isinstance(told, ledger_pb2.LedgerTransaction):
        _require_movement(asked, told)
    else:
        assert told.contact == asked.member.contact


def _require_order(asked: orders_pb2.Order, told: orders_pb2.Order) -> None:
    assert (told.external_id, told.contact) == (asked.external_id, asked.contact)
    assert told.points_earned == asked.lines[0].amount.units


def _require_movement(
    asked: ledger_pb2.AwardPointsRequest | ledger_pb2.SpendPointsRequest,
    told: ledger_pb2.LedgerTransaction,
) -> None:
    assert told.name.startswith(f"{asked.member}/")
    assert (told.points, told.reason) == (asked.points, asked.reason)
    assert sum(entry.points for entry in told.entries) == 0


def require_own_refusal(reply: Reply) -> None:
    """Fail unless a refusal speaks of its request and of nothing else."""
    assert reply.error
    asked, told = reply.ask.request, reply.error.metadata
    if reply.reason != "INVALID_FIELD":
        assert reply.trailers["request-id"] == asked.request_id
    if reply.reason == "INSUFFICIENT_POINTS":
        assert (told["member"], told["asked"]) == (asked.member, str(asked.points))
        assert int(told["points_balance"]) < asked.points
    if reply.reason == "REQUEST_ID_REUSED":
        assert told["request_id"] == asked.request_id
    if reply.reason == "RESOURCE_NOT_FOUND":
        assert told["resource"].endswith("/members/nobody")
