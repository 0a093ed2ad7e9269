"""The ledger over the wire: what is awarded and spent, what orders earn, and what is refused."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.type import money_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

import vafa
from services.loyalty.rules.ledger import MAX_POINTS_BALANCE
from tests.harness.factories import a_program, euros
from tests.harness.suite import RunningSuite
from vafa.loyalty.v1 import ledger_pb2, members_pb2, orders_pb2, programs_pb2

Invariant = ledger_pb2.LedgerViolation
LARGEST_AWARD = 1_000_000_000_000
Movement = tuple[bool, int]


def a_rate(points: int, per_amount: money_pb2.Money) -> programs_pb2.EarnRate:
    """Return an earn rate."""
    return programs_pb2.EarnRate(points=points, per_amount=per_amount)


def a_member(client: vafa.Suite, program: str) -> str:
    """Enrol somebody and return the name of the membership."""
    member = members_pb2.Member(contact=f"contacts/{uuid.uuid4()}")
    request = members_pb2.CreateMemberRequest(parent=program, member=member)
    return client.members.CreateMember(request).name


def an_award(member: str, points: int) -> ledger_pb2.AwardPointsRequest:
    """Return the request for an award."""
    return ledger_pb2.AwardPointsRequest(member=member, points=points, reason="test")


def award(client: vafa.Suite, member: str, points: int) -> ledger_pb2.LedgerTransaction:
    """Award points."""
    return client.ledger.AwardPoints(an_award(member, points))


def award_all(
    client: vafa.Suite, program: str, awards: Sequence[ledger_pb2.AwardPointsRequest]
) -> Sequence[ledger_pb2.LedgerTransaction]:
    """Award points in one batch."""
    request = ledger_pb2.BatchAwardPointsRequest(parent=program, requests=awards)
    return client.ledger.BatchAwardPoints(request).ledger_transactions


def spend(client: vafa.Suite, member: str, points: int) -> ledger_pb2.LedgerTransaction:
    """Spend points."""
    request = ledger_pb2.SpendPointsRequest(member=member, points=points, reason="test")
    return client.ledger.SpendPoints(request)


def balance(client: vafa.Suite, member: str) -> ledger_pb2.Balance:
    """Return what a member has."""
    return client.ledger.GetBalance(ledger_pb2.GetBalanceRequest(name=f"{member}/balance"))


def lots(client: vafa.Suite, member: str) -> Sequence[ledger_pb2.Lot]:
    """Return the lots of a member."""
    return client.ledger.ListLots(ledger_pb2.ListLotsRequest(parent=member, page_size=1000)).lots


def transactions(client: vafa.Suite, member: str) -> Sequence[ledger_pb2.LedgerTransaction]:
    """Return the transactions of a member."""
    request = ledger_pb2.ListLedgerTransactionsRequest(parent=member, page_size=1000)
    return client.ledger.ListLedgerTransactions(request).ledger_transactions


def verify(client: vafa.Suite, program: str) -> ledger_pb2.VerifyLedgerResponse:
    """Verify the ledger of a programme."""
    operation = client.ledger.VerifyLedger(ledger_pb2.VerifyLedgerRequest(parent=program))
    found: ledger_pb2.VerifyLedgerResponse = client.wait(operation, timeout_seconds=30)
    return found


def an_order(
    external_id: str = "",
    *,
    contact: str = "",
    amounts: Sequence[money_pb2.Money] = (),
    payments: Sequence[money_pb2.Money] = (),
) -> orders_pb2.Order:
    """Return an order, of ten euros unless other amounts are given."""
    return orders_pb2.Order(
        external_id=external_id or str(uuid.uuid4()),
        contact=contact or f"contacts/{uuid.uuid4()}",
        lines=[
            orders_pb2.OrderLine(sku=f"sku-{n}", quantity=1, amount=amount)
            for n, amount in enumerate(amounts or [euros(10)])
        ],
        payments=[orders_pb2.Payment(method="card", amount=amount) for amount in payments],
    )


def record(client: vafa.Suite, program: str, order: orders_pb2.Order) -> orders_pb2.Order:
    """Record an order."""
    request = orders_pb2.RecordOrderRequest(parent=program, order=order)
    return client.orders.RecordOrder(request)


def record_all(
    client: vafa.Suite, program: str, orders: Sequence[orders_pb2.Order]
) -> Sequence[orders_pb2.Order]:
    """Record orders in one batch."""
    request = orders_pb2.BatchRecordOrdersRequest(parent=program, orders=orders)
    return client.orders.BatchRecordOrders(request).orders


def require_nothing_recorded(client: vafa.Suite, program: str) -> None:
    """Fail unless a programme has neither orders nor members."""
    request = programs_pb2.GetProgramSummaryRequest(name=f"{program}/summary")
    summary = client.programs.GetProgramSummary(request)
    assert summary.orders_count == summary.members_count == summary.points_issued == 0


class NaiveLedger:
    """What ought to come of awards and spendings: lots are spent from the oldest on."""

    def __init__(self) -> None:
        self.lots: list[list[int]] = []
        self.redeemed = 0

    @property
    def balance(self) -> int:
        """The points that are left."""
        return sum(remaining for _, remaining in self.lots)

    def award(self, points: int) -> None:
        """Add a lot."""
        self.lots.append([points, points])

    def spend(self, points: int) -> bool:
        """Take points if there are so many; return whether there were."""
        if points > self.balance:
            return False
        self.redeemed += points
        for lot in self.lots:
            taken = min(lot[1], points)
            lot[1] -= taken
            points -= taken
        return True


@settings(
    max_examples=12,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    movements=st.lists(
        st.tuples(st.booleans(), st.one_of(st.integers(1, 60), st.integers(1, LARGEST_AWARD))),
        min_size=1,
        max_size=15,
    )
)
def test_awards_and_spendings_do_what_a_naive_ledger_does(
    client: vafa.Suite, movements: list[Movement]
) -> None:
    program = a_program(client)
    member, naive, posted = a_member(client, program), NaiveLedger(), 0
    for awarded, points in movements:
        if awarded:
            naive.award(points)
            done = award(client, member, points)
        elif naive.spend(points):
            done = spend(client, member, points)
        else:
            with pytest.raises(vafa.FailedPrecondition) as refused:
                spend(client, member, points)
            assert refused.value.reason == "INSUFFICIENT_POINTS"
            assert refused.value.metadata["points_balance"] == str(naive.balance)
            assert [one.field for one in refused.value.field_violations] == ["points"]
            continue
        posted += 1
        assert done.points_balance == naive.balance
        assert done.points == points
        assert sum(entry.points for entry in done.entries) == 0
    now = balance(client, member)
    assert now.points_balance == naive.balance
    assert now.points_redeemed == naive.redeemed
    assert now.points_issued == naive.balance + naive.redeemed
    assert [[lot.points_issued, lot.points_remaining] for lot in lots(client, member)] == naive.lots
    assert len(transactions(client, member)) == posted
    found = verify(client, program)
    assert found.violations_count == 0
    assert found.ledger_transactions_checked == posted


def test_a_balance_never_passes_its_limit(client: vafa.Suite) -> None:
    program = a_program(client)
    member = a_member(client, program)
    for _ in range(MAX_POINTS_BALANCE // LARGEST_AWARD // 1000):
        award_all(client, program, [an_award(member, LARGEST_AWARD)] * 1000)
    assert balance(client, member).points_balance == MAX_POINTS_BALANCE
    with pytest.raises(vafa.FailedPrecondition) as refused:
        award(client, member, 1)
    assert refused.value.reason == "BALANCE_LIMIT_REACHED"
    assert refused.value.metadata["member"] == member
    assert [one.field for one in refused.value.field_violations] == ["points"]
    with pytest.raises(vafa.FailedPrecondition) as batch_refused:
        award_all(client, program, [an_award(a_member(client, program), 1), an_award(member, 1)])
    assert [one.field for one in batch_refused.value.field_violations] == ["requests[1].points"]
    spend(client, member, 5)
    assert award(client, member, 5).points_balance == MAX_POINTS_BALANCE


def test_a_batch_of_awards_is_posted_as_a_whole_or_not_at_all(client: vafa.Suite) -> None:
    program = a_program(client)
    first, second = a_member(client, program), a_member(client, program)
    stranger = f"{program}/members/nobody"
    with pytest.raises(vafa.NotFound) as refused:
        award_all(client, program, [an_award(first, 5), an_award(stranger, 5)])
    assert refused.value.metadata["resource"] == stranger
    assert balance(client, first).points_issued == 0
    awards = [an_award(first, 1), an_award(second, 2), an_award(first, 3), an_award(first, 4)]
    posted = award_all(client, program, awards)
    assert [one.points for one in posted] == [1, 2, 3, 4]
    assert [one.points_balance for one in posted] == [1, 2, 4, 8]
    assert balance(client, first).points_balance == 8
    assert balance(client, second).points_balance == 2
    assert sorted(lot.points_issued for lot in lots(client, first)) == [1, 3, 4]
    assert verify(client, program).violations_count == 0


def test_the_transactions_of_a_contact_are_listed_over_all_programmes(client: vafa.Suite) -> None:
    programs = [a_program(client) for _ in range(2)]
    contact = f"contacts/{uuid.uuid4()}"
    for program in programs:
        record(client, program, an_order(contact=contact))
        award(client, a_member(client, program), 7)
    members = [contact.replace("contacts/", f"{program}/members/") for program in programs]
    expected = [award(client, members[n % 2], n + 1) for n in range(5)]
    everywhere = contact.replace("contacts/", "programs/-/members/")
    assert transactions(client, everywhere) == expected
    request = ledger_pb2.ListLedgerTransactionsRequest(
        parent=everywhere, page_size=2, order_by="create_time desc"
    )
    found: list[ledger_pb2.LedgerTransaction] = []
    while not found or request.page_token:
        page = client.ledger.ListLedgerTransactions(request)
        found += page.ledger_transactions
        request.page_token = page.next_page_token
    assert found == expected[::-1]
    assert transactions(client, f"programs/-/members/{uuid.uuid4()}") == []


def test_a_list_of_transactions_names_a_programme_or_a_contact(client: vafa.Suite) -> None:
    with pytest.raises(vafa.InvalidArgument) as refused:
        transactions(client, "programs/-/members/-")
    assert [one.field for one in refused.value.field_violations] == ["parent"]
    for parent, missing in (
        ("programs/nobody/members/-", "programs/nobody"),
        (f"{a_program(client)}/members/nobody", "/members/nobody"),
    ):
        with pytest.raises(vafa.NotFound) as not_found:
            transactions(client, parent)
        assert not_found.value.metadata["resource"].endswith(missing)


def test_a_member_of_another_programme_is_refused_in_a_batch(client: vafa.Suite) -> None:
    program, other = a_program(client), a_program(client)
    member, stranger = a_member(client, program), a_member(client, other)
    with pytest.raises(vafa.InvalidArgument) as refused:
        award_all(client, program, [an_award(member, 1), an_award(stranger, 1)])
    assert [one.field for one in refused.value.field_violations] == ["requests[1].member"]
    assert balance(client, member).points_issued == 0


@contextmanager
def corrupted(running: RunningSuite, table: str, column: str, name: str) -> Iterator[None]:
    """Add a point to a figure of a member behind the back of the service, and take it away."""
    _, program_id, _, member_id = name.split("/")
    engine = create_engine(running.database_urls["loyalty"])

    def add(points: int) -> None:
        change = text(
            f"UPDATE {table} SET {column} = {column} + :points"  # noqa: S608
            " WHERE program_id = :program_id AND member_id = :member_id"
        )
        given = {"points": points, "program_id": program_id, "member_id": member_id}
        with engine.begin() as connection:
            assert connection.execute(change, given).rowcount == 1

    add(1)
    try:
        yield
    finally:
        add(-1)
        engine.dispose()


def violations(found: ledger_pb2.VerifyLedgerResponse) -> set[tuple[int, str, int, int]]:
    """Return the violations as tuples."""
    return {(one.invariant, one.resource, one.expected, one.found) for one in found.violations}


def test_a_verification_names_what_does_not_agree(client: vafa.Suite, suite: RunningSuite) -> None:
    program = a_program(client, a_rate(1, euros(1)))
    wrong, right = a_member(client, program), a_member(client, program)
    for member in (wrong, right):
        award(client, member, 10)
        spend(client, member, 4)
    (lot,) = lots(client, wrong)
    by_entries = Invariant.INVARIANT_BALANCE_IS_SUM_OF_ENTRIES
    by_lots = Invariant.INVARIANT_BALANCE_IS_SUM_OF_LOTS
    of_lot = Invariant.INVARIANT_LOT_IS_SUM_OF_ENTRIES
    with corrupted(suite, "members", "points_balance", wrong):
        found = verify(client, program)
        assert violations(found) == {(by_entries, wrong, 6, 7), (by_lots, wrong, 6, 7)}
        assert found.violations_count == 2
        # What does not agree is not made worse, and not told either.
        with pytest.raises(vafa.Internal):
            spend(client, wrong, 1)
    by_issue = Invariant.INVARIANT_ISSUED_IS_SUM_OF_ENTRIES
    with corrupted(suite, "members", "points_issued", wrong):
        assert violations(verify(client, program)) == {(by_issue, wrong, 10, 11)}
    by_redemption = Invariant.INVARIANT_REDEEMED_IS_SUM_OF_ENTRIES
    with corrupted(suite, "members", "points_redeemed", wrong):
        assert violations(verify(client, program)) == {(by_redemption, wrong, 4, 5)}
    with corrupted(suite, "lots", "points_remaining", wrong):
        found = verify(client, program)
        assert violations(found) == {(of_lot, lot.name, 6, 7), (by_lots, wrong, 7, 6)}
    order = record(client, program, an_order(contact=f"contacts/{wrong.rpartition('/')[2]}"))
    with corrupted(suite, "orders", "points_earned", wrong):
        found = verify(client, program)
        once = Invariant.INVARIANT_ORDER_IS_POSTED_ONCE
        assert violations(found) == {(once, order.name, 11, 10)}
    found = verify(client, program)
    assert found.violations_count == 0
    assert (found.members_checked, found.lots_checked, found.orders_checked) == (2, 3, 1)


def test_an_order_earns_by_the_rate_of_its_moment(client: vafa.Suite) -> None:
    program = a_program(client, a_rate(3, euros(2)))
    contact = f"contacts/{uuid.uuid4()}"
    first = an_order("first", contact=contact, amounts=[euros(4, 99), euros(0, 34)])
    before = record(client, program, first)
    # 5.33 euros, three points for two: 7.995.
    assert before.points_earned == 7
    change = programs_pb2.Program(name=program, earn_rate=a_rate(10, euros(1)))
    mask = FieldMask(paths=["earn_rate"])
    client.programs.UpdateProgram(
        programs_pb2.UpdateProgramRequest(program=change, update_mask=mask)
    )
    assert record(client, program, first) == before
    after = record(client, program, an_order("second", contact=contact))
    assert after.points_earned == 100
    assert balance(client, after.member).points_balance == 107
    posted = transactions(client, after.member)
    assert [(one.order, one.points, one.reason) for one in posted] == [
        (before.name, 7, "order"),
        (after.name, 100, "order"),
    ]


def test_an_order_without_value_posts_nothing(client: vafa.Suite) -> None:
    program = a_program(client, a_rate(1, euros(1)))
    order = record(client, program, an_order(amounts=[euros(0)]))
    assert order.points_earned == 0
    assert order.total == euros(0)
    assert not transactions(client, order.member)
    assert verify(client, program).violations_count == 0


def test_an_order_in_a_programme_without_a_rate_posts_nothing(client: vafa.Suite) -> None:
    program = a_program(client)
    order = record(client, program, an_order())
    assert order.points_earned == 0
    assert not transactions(client, order.member)


def test_an_external_id_stands_for_one_content(client: vafa.Suite) -> None:
    program = a_program(client, a_rate(1, euros(1)))
    contact = f"contacts/{uuid.uuid4()}"
    order = record(client, program, an_order("one", contact=contact))
    assert record(client, program, an_order("one", contact=contact)) == order
    other = an_order("one", contact=contact, amounts=[euros(11)])
    with pytest.raises(vafa.AlreadyExists) as refused:
        record(client, program, other)
    assert refused.value.reason == "ORDER_ALREADY_RECORDED"
    assert refused.value.metadata["resource"] == order.name
    assert [one.field for one in refused.value.field_violations] == ["order.external_id"]
    request = orders_pb2.BatchRecordOrdersRequest(parent=program, orders=[an_order(), other])
    with pytest.raises(vafa.AlreadyExists) as batch_refused:
        client.orders.BatchRecordOrders(request)
    violated = [one.field for one in batch_refused.value.field_violations]
    assert violated == ["orders[1].external_id"]
    assert balance(client, order.member).points_balance == 10
    assert len(client.orders.ListOrders(orders_pb2.ListOrdersRequest(parent=program)).orders) == 1


def test_an_order_that_would_pass_the_limit_is_not_recorded(client: vafa.Suite) -> None:
    program = a_program(client, a_rate(1_000_000, euros(0, 1)))
    with pytest.raises(vafa.FailedPrecondition) as refused:
        record(client, program, an_order(amounts=[euros(1_000_000_000_000)]))
    assert refused.value.reason == "BALANCE_LIMIT_REACHED"
    assert [one.field for one in refused.value.field_violations] == ["order.lines"]
    # Each alone is within the limit.
    contact, half = f"contacts/{uuid.uuid4()}", euros(60_000_000)
    orders = [an_order(contact=contact, amounts=[half]) for _ in range(2)]
    with pytest.raises(vafa.FailedPrecondition) as batch_refused:
        record_all(client, program, orders)
    assert batch_refused.value.reason == "BALANCE_LIMIT_REACHED"
    assert [one.field for one in batch_refused.value.field_violations] == ["orders[1].lines"]
    require_nothing_recorded(client, program)


def in_another_currency() -> orders_pb2.Order:
    """Return an order whose second line is in pounds."""
    return an_order(amounts=[euros(1), euros(1, currency_code="GBP")])


def paid_in_another_currency() -> orders_pb2.Order:
    """Return an order that was paid in pounds."""
    return an_order(payments=[euros(1, currency_code="GBP")])


def paid_too_much() -> orders_pb2.Order:
    """Return an order with payments of a cent above its total."""
    return an_order(payments=[euros(4), euros(6, 1)])


def in_parts_of_cents() -> orders_pb2.Order:
    """Return an order with an amount that its currency cannot count."""
    return an_order(amounts=[money_pb2.Money(currency_code="EUR", units=1, nanos=1)])


@pytest.mark.parametrize(
    ("order", "reason", "field"),
    [
        (in_another_currency(), "CURRENCY_MISMATCH", "lines[1].amount"),
        (paid_in_another_currency(), "CURRENCY_MISMATCH", "payments[0].amount"),
        (paid_too_much(), "PAYMENTS_EXCEED_TOTAL", "payments"),
        (in_parts_of_cents(), "AMOUNT_INVALID", "lines[0].amount"),
        (an_order(amounts=[euros(-1)]), "AMOUNT_INVALID", "lines[0].amount"),
    ],
)
def test_an_order_that_cannot_be_is_refused_and_its_field_named(
    client: vafa.Suite, order: orders_pb2.Order, reason: str, field: str
) -> None:
    program = a_program(client, a_rate(1, euros(1)))
    with pytest.raises(vafa.InvalidArgument) as refused:
        record(client, program, order)
    assert refused.value.reason == reason
    assert [one.field for one in refused.value.field_violations] == [f"order.{field}"]
    request = orders_pb2.BatchRecordOrdersRequest(parent=program, orders=[an_order(), order])
    with pytest.raises(vafa.InvalidArgument) as batch_refused:
        client.orders.BatchRecordOrders(request)
    assert [one.field for one in batch_refused.value.field_violations] == [f"orders[1].{field}"]
    require_nothing_recorded(client, program)


def test_an_order_of_a_time_that_has_not_come_is_refused(client: vafa.Suite) -> None:
    program, order = a_program(client), an_order()
    order.order_time.FromDatetime(datetime.now(UTC) + timedelta(minutes=2))
    with pytest.raises(vafa.InvalidArgument) as refused:
        record(client, program, order)
    assert refused.value.reason == "TIME_IN_FUTURE"
    assert [one.field for one in refused.value.field_violations] == ["order.order_time"]
    require_nothing_recorded(client, program)


def test_an_order_is_not_older_than_the_year_1900(client: vafa.Suite) -> None:
    program, order = a_program(client), an_order()
    first = datetime(1900, 1, 1, tzinfo=UTC)
    order.order_time.FromDatetime(first - timedelta(seconds=1))
    with pytest.raises(vafa.InvalidArgument) as refused:
        record(client, program, order)
    assert refused.value.reason == "INVALID_FIELD"
    assert [one.field for one in refused.value.field_violations] == ["order.order_time"]
    order.order_time.FromDatetime(first)
    assert record(client, program, order).order_time == order.order_time


def test_sums_may_be_more_than_64_bits_hold(client: vafa.Suite) -> None:
    # The currency with the most decimals, four: an order of the most units is 10^16 of its
    # minor ones, and here worth as many points as a member may have.
    def most(units: int = 1_000_000_000_000) -> money_pb2.Money:
        return euros(units, currency_code="CLF")

    rate = a_rate(9, money_pb2.Money(currency_code="CLF", nanos=1_000_000))
    program = client.programs.CreateProgram(
        programs_pb2.CreateProgramRequest(
            program=programs_pb2.Program(display_name="Club", currency_code="CLF", earn_rate=rate)
        )
    ).name
    for count in (1000, 30):
        record_all(client, program, [an_order(amounts=[most()]) for _ in range(count)])
    name = f"{program}/summary"
    summary = client.programs.GetProgramSummary(programs_pb2.GetProgramSummaryRequest(name=name))
    assert (summary.orders_count, summary.customers_count) == (1030, 1030)
    assert summary.revenue == most(1030 * 1_000_000_000_000)
    assert summary.points_issued == summary.points_outstanding == 2**63 - 1
    assert summary.points_redeemed == 0
    without_rate = client.programs.CreateProgram(
        programs_pb2.CreateProgramRequest(
            program=programs_pb2.Program(display_name="Club", currency_code="CLF")
        )
    ).name
    contact = f"contacts/{uuid.uuid4()}"
    orders = [an_order(contact=contact, amounts=[most()]) for _ in range(930)]
    record_all(client, without_rate, orders)
    bought = client.orders.SummarizePurchases(orders_pb2.SummarizePurchasesRequest(contact=contact))
    assert list(bought.totals) == [most(930 * 1_000_000_000_000)]


def test_payments_up_to_the_total_are_recorded(client: vafa.Suite) -> None:
    program = a_program(client, a_rate(1, euros(1)))
    order = record(client, program, an_order(payments=[euros(4), euros(6)]))
    assert [one.amount for one in order.payments] == [euros(4), euros(6)]
    assert order.total == euros(10)
    assert order.points_earned == 10
