"""What the terminal shows of the scores of a customer."""

from datetime import UTC, datetime
from io import StringIO

from rich.console import Console

from services.command.customer_view import print_customer
from vafa.feedback.v1 import responses_pb2, surveys_pb2
from vafa.gateway.v1 import customers_pb2

Customer = customers_pb2.Customer
Survey = surveys_pb2.Survey


def shown(customer: Customer) -> list[list[str]]:
    """Return the words of each line that is printed."""
    console = Console(file=StringIO(), width=100)
    print_customer(console, customer)
    assert isinstance(console.file, StringIO)
    return [line.split() for line in console.file.getvalue().splitlines()]


def a_customer() -> Customer:
    """Return a customer who gave two scores."""
    customer = Customer(name="customers/ada")
    score = customer.scores.scores.add(kind=Survey.KIND_NPS, scores_count=2, latest_score=9)
    score.latest_answer_time.FromDatetime(datetime(2026, 3, 21, tzinfo=UTC))
    return customer


def test_each_kind_of_score_is_shown_with_the_latest() -> None:
    lines = shown(a_customer())
    assert ["Scores"] in lines
    assert ["kind", "last", "given", "scores", "last"] in lines
    assert ["NPS", "2026-03-21", "2", "9"] in lines


def test_who_gave_no_score_has_none_shown() -> None:
    customer = a_customer()
    customer.scores.CopyFrom(responses_pb2.ScoreSummary(responses_count=1))
    assert ["Scores"] not in shown(customer)


def test_scores_that_could_not_be_had_are_named() -> None:
    customer = a_customer()
    customer.ClearField("scores")
    customer.unavailable_parts.add(part=Customer.PART_SCORES, code="UNAVAILABLE")
    lines = shown(customer)
    assert ["scores:", "unavailable", "(UNAVAILABLE)"] in lines
    assert ["Scores"] not in lines
