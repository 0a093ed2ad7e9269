"""The client of the bench against real services: it counts what happens, and stays up."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, cycle, repeat

import pytest

from bench.http2 import FIRST_WINDOW
from bench.load import LOST, Answers
from bench.wire import Caller, Target
from tests.harness.alone import GET_CONTACT, ContactsAlone, create
from tests.harness.edge import Edge
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from tests.integration.test_metrics import CONTACT_SERVICE, scrape, value
from vafa.contacts.v1 import contacts_pb2

SERVICE = "/vafa.contacts.v1.ContactService"
CANCELLED, NOT_FOUND, UNAVAILABLE, UNAUTHENTICATED = 1, 5, 14, 16


@pytest.fixture
def contact(steady: ContactsAlone) -> bytes:
    """An encoded request for a contact that is there."""
    with steady.client() as client:
        return contacts_pb2.GetContactRequest(name=create(client).name).SerializeToString()


@pytest.fixture
def caller(steady: ContactsAlone) -> Iterator[Caller]:
    """A caller of GetContact."""
    made = Caller([Target(steady.addresses["contacts"], GET_CONTACT, steady.token())])
    yield made
    made.close()


NOBODY = contacts_pb2.GetContactRequest(name="contacts/nobody-here").SerializeToString()


def handled(suite: RunningSuite, method: str = "GetContact") -> dict[str, float]:
    """Return how many calls of a method the service says that it ended, by code."""
    series = scrape(suite, "contacts")
    labels = {**CONTACT_SERVICE, "grpc_method": method}
    codes = ("OK", "NotFound", "Canceled", "Unauthenticated")
    return {
        code: value(series, "grpc_server_handled_total", **labels, grpc_code=code) for code in codes
    }


def test_answers_and_refusals_are_counted_as_the_service_counts_them(
    steady: ContactsAlone, caller: Caller, contact: bytes
) -> None:
    before = handled(steady)
    answers = caller.in_flight(cycle([contact, contact, NOBODY]), 8, seconds=0.5)
    after = handled(steady)
    assert len(answers.latencies) == after["OK"] - before["OK"] > 8
    assert answers.failures == {NOT_FOUND: after["NotFound"] - before["NotFound"]}
    assert answers.ended == after["OK"] + after["NotFound"] - before["OK"] - before["NotFound"]
    assert after["Canceled"] == before["Canceled"]


def test_only_what_ended_in_time_is_in_the_rate(caller: Caller, contact: bytes) -> None:
    answers = caller.in_flight(repeat(contact), 8, seconds=0.3)
    assert answers.seconds >= 0.3
    assert len(answers.latencies) - 8 <= answers.succeeded_in_time <= len(answers.latencies)
    assert answers.per_second == answers.succeeded_in_time / answers.seconds


def test_a_call_that_is_given_up_is_cancelled_at_the_service(
    steady: ContactsAlone, caller: Caller, contact: bytes
) -> None:
    before = handled(steady)
    answers = caller.in_flight(repeat(contact), 32, seconds=0.5, hang_up_every=3)
    assert answers.hung_up > 0
    assert not answers.failures

    def all_ended() -> bool:
        # One that the service had answered already, or never saw, is no cancellation of its own.
        after = {code: n - before[code] for code, n in handled(steady).items()}
        ok_unread = after["OK"] - len(answers.latencies)
        return after["Canceled"] > 0 and ok_unread + after["Canceled"] <= answers.hung_up

    until(all_ended)


def test_without_a_token_every_call_is_a_failure(steady: ContactsAlone, contact: bytes) -> None:
    caller = Caller([Target(steady.addresses["contacts"], GET_CONTACT)])
    answers = caller.in_flight(repeat(contact), 4, seconds=0.2)
    caller.close()
    assert not answers.latencies
    assert set(answers.failures) == {UNAUTHENTICATED}
    assert answers.failures.total() >= 4


def test_at_a_rate_as_many_calls_begin_as_were_asked_for(caller: Caller, contact: bytes) -> None:
    answers = caller.at_rate(repeat(contact), per_second=100, seconds=0.5)
    assert len(answers.latencies) == 50
    assert not answers.failures


def batches(size: int) -> Iterator[bytes]:
    """Give encoded requests to create so many contacts at once, each with a request_id."""
    contact = contacts_pb2.Contact(display_name="Ada", occupation="x" * 80)
    requests = [contacts_pb2.CreateContactRequest(contact=contact)] * size
    batch = contacts_pb2.BatchCreateContactsRequest(requests=requests)
    while True:
        batch.request_id = str(uuid.uuid4())
        yield batch.SerializeToString()


def test_messages_larger_than_the_windows_arrive_whole(steady: ContactsAlone) -> None:
    path = f"{SERVICE}/BatchCreateContacts"
    target = Target(steady.addresses["contacts"], path, steady.token())
    # More than a connection takes at first, and four of them are on one.
    assert len(next(batches(1000))) > FIRST_WINDOW
    caller = Caller([target], connections=1)
    answers = caller.in_flight(batches(1000), 4, seconds=0.5)
    caller.close()
    assert not answers.failures
    assert len(answers.latencies) >= 4


@pytest.fixture
def restartable(alone: ContactsAlone) -> tuple[ContactsAlone, bytes]:
    """A service that may be stopped, and an encoded request for a contact of it."""
    alone.start("contacts")
    with alone.client() as client:
        request = contacts_pb2.GetContactRequest(name=create(client).name)
    return alone, request.SerializeToString()


def test_a_service_that_restarts_is_called_again(
    restartable: tuple[ContactsAlone, bytes],
) -> None:
    alone, message = restartable
    caller = Caller([Target(alone.addresses["contacts"], GET_CONTACT, alone.token())])

    def restart() -> None:
        alone.stop("contacts")
        alone.start("contacts")

    with ThreadPoolExecutor(1) as other:
        restarted = other.submit(restart)
        # Those that find no server wait until it is back.
        answers = caller.in_flight(repeat(message), 16, seconds=1)
        restarted.result()
    again = caller.in_flight(repeat(message), 16, seconds=0.2)
    caller.close()
    assert answers.latencies
    # gRPC cancels what it has received and not begun when it is told to stop.
    assert set(answers.failures) <= {LOST, UNAVAILABLE, CANCELLED}
    assert answers.failures.total() <= 16
    assert len(again.latencies) > 16
    assert not again.failures


def test_a_service_that_is_killed_loses_what_was_in_flight_and_no_more(
    restartable: tuple[ContactsAlone, bytes],
) -> None:
    alone, message = restartable
    caller = Caller([Target(alone.addresses["contacts"], GET_CONTACT, alone.token())])

    def killing() -> Iterator[bytes]:
        yield from repeat(message, 100)
        alone.kill("contacts")
        alone.launch()
        yield from repeat(message)

    answers = caller.in_flight(killing(), 16, seconds=1)
    again = caller.in_flight(repeat(message), 16, seconds=0.2)
    caller.close()
    assert 0 < answers.failures[LOST] <= 16
    assert set(answers.failures) == {LOST}
    assert len(answers.latencies) >= 100 - 16
    assert not again.failures


def test_through_the_edge_it_is_counted_alike(suite: RunningSuite, edge: Edge) -> None:
    with suite.client() as client:
        request = contacts_pb2.GetContactRequest(name=create(client).name)
    caller = Caller([Target(edge.address, GET_CONTACT, suite.token())], connections=1)
    wanted = chain(repeat(request.SerializeToString(), 20), repeat(NOBODY))
    answers: Answers = caller.at_rate(wanted, per_second=60, seconds=0.5)
    caller.close()
    assert len(answers.latencies) == 20
    assert answers.failures == {NOT_FOUND: 10}
