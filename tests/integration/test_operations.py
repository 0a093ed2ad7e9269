"""Long-running operations: asked for, waited for, cancelled, and finished whatever is killed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from google.longrunning import operations_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

import vafa
from tests.harness.factories import a_program
from tests.harness.postgres import Postgres
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.loyalty.v1 import ledger_pb2, members_pb2

Connection = psycopg.Connection[Any]
DATABASE = "operations_loyalty"
# An operation whose runner died is taken up by another after 15 s.
LEASE_SECONDS = 15


@pytest.fixture(scope="module")
def loyalty(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """The loyalty service alone on PostgreSQL, to be killed."""
    folder = tmp_path_factory.mktemp("operations")
    running = RunningSuite(folder, {"loyalty": postgres.create(DATABASE)})
    running.start("loyalty")
    yield running
    running.stop()


@pytest.fixture
def store(postgres: Postgres, loyalty: RunningSuite) -> Iterator[Connection]:
    """A connection of our own to the database; each statement commits."""
    with psycopg.connect(postgres.conninfo(DATABASE), autocommit=True) as connection:
        yield connection


@contextmanager
def held_up(postgres: Postgres) -> Iterator[None]:
    """Let no verification come to its end meanwhile."""
    with psycopg.connect(postgres.conninfo(DATABASE)) as blocker:
        blocker.execute("LOCK TABLE lots IN ACCESS EXCLUSIVE MODE")
        yield
        blocker.rollback()


@contextmanager
def not_taken_up(store: Connection) -> Iterator[None]:
    """Let nobody take up a new operation meanwhile."""
    store.execute(
        "CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )
    store.execute(
        "CREATE TRIGGER leave BEFORE UPDATE OF lease_time ON operations FOR EACH ROW"
        " EXECUTE FUNCTION leave()"
    )
    try:
        yield
    finally:
        store.execute("DROP TRIGGER leave ON operations")
        store.execute("DROP FUNCTION leave")


def begin(client: vafa.Suite) -> operations_pb2.Operation:
    """Begin to verify the ledger of a new programme with one member."""
    program = a_program(client)
    member = members_pb2.Member(contact="contacts/ada")
    client.members.CreateMember(members_pb2.CreateMemberRequest(parent=program, member=member))
    return client.ledger.VerifyLedger(ledger_pb2.VerifyLedgerRequest(parent=program))


def ask(client: vafa.Suite, name: str) -> operations_pb2.Operation:
    """Return how an operation stands."""
    request = operations_pb2.GetOperationRequest(name=name)
    return client.operations("loyalty").GetOperation(request)


def wait(client: vafa.Suite, name: str, seconds: int) -> operations_pb2.Operation:
    """Wait for the end of an operation, on the side of the service."""
    request = operations_pb2.WaitOperationRequest(name=name, timeout=Duration(seconds=seconds))
    return client.operations("loyalty").WaitOperation(request, timeout=seconds + 5)


def cancel(client: vafa.Suite, name: str) -> None:
    """Ask for the end of an operation."""
    request = operations_pb2.CancelOperationRequest(name=name)
    client.operations("loyalty").CancelOperation(request)


def lease_time(store: Connection, operation: operations_pb2.Operation) -> Any:
    """Return the row with the time when the runner of an operation last said that it lives."""
    query = "SELECT lease_time FROM operations WHERE id = %s"
    id_ = operation.name.removeprefix("operations/loyalty-")
    return store.execute(query, (id_,)).fetchone()


def is_taken_up(store: Connection, operation: operations_pb2.Operation) -> bool:
    """Whether some process runs an operation."""
    a_lease_ago = store.execute("SELECT now() - interval '15 s'").fetchone()
    return bool(lease_time(store, operation) > a_lease_ago)


def require_cancelled(operation: operations_pb2.Operation) -> None:
    """Fail unless an operation ended by being cancelled."""
    assert operation.done
    info = error_details_pb2.ErrorInfo()
    operation.error.details[0].Unpack(info)
    assert (operation.error.code, info.reason) == (1, "OPERATION_CANCELLED")


def test_an_operation_is_waited_for_and_stays_to_be_asked_for(client: vafa.Suite) -> None:
    begun = begin(client)
    assert begun.name.startswith("operations/loyalty-")
    assert not begun.done
    ended = wait(client, begun.name, seconds=10)
    assert ended.done
    response = ledger_pb2.VerifyLedgerResponse()
    assert ended.response.Unpack(response)
    assert response == ledger_pb2.VerifyLedgerResponse(members_checked=1)
    metadata = ledger_pb2.VerifyLedgerMetadata()
    assert ended.metadata.Unpack(metadata)
    assert metadata == ledger_pb2.VerifyLedgerMetadata(members_checked=1, members_count=1)
    assert ask(client, begun.name) == ended
    # An operation that has ended stays as it is.
    cancel(client, begun.name)
    assert ask(client, begun.name) == ended
    assert client.wait(ended, timeout_seconds=1) == response


def test_operations_are_listed_in_pages_the_latest_first(client: vafa.Suite) -> None:
    begun = [begin(client).name for _ in range(5)]
    names: list[str] = []
    request = operations_pb2.ListOperationsRequest(name="operations", page_size=2)
    while len(names) < len(begun):
        page = client.operations("loyalty").ListOperations(request)
        assert len(page.operations) == 2
        names += [operation.name for operation in page.operations]
        request.page_token = page.next_page_token
    assert names[: len(begun)] == begun[::-1]
    request.page_token = "forged"  # noqa: S105
    with pytest.raises(vafa.InvalidArgument) as refused:
        client.operations("loyalty").ListOperations(request)
    assert refused.value.reason == "PAGE_TOKEN_INVALID"
    with pytest.raises(vafa.InvalidArgument) as refused:
        client.operations("loyalty").ListOperations(
            operations_pb2.ListOperationsRequest(name="operations", filter="done = true")
        )
    assert refused.value.reason == "FILTER_INVALID"


@pytest.mark.parametrize("name", ["operations/loyalty-nothing", "operations/contacts-nothing"])
def test_an_unknown_operation_is_not_found(client: vafa.Suite, name: str) -> None:
    for call in (
        lambda: ask(client, name),
        lambda: wait(client, name, seconds=1),
        lambda: cancel(client, name),
    ):
        with pytest.raises(vafa.NotFound) as refused:
            call()
        assert refused.value.reason == "RESOURCE_NOT_FOUND"


def test_waiting_ends_with_its_timeout_while_the_operation_goes_on(
    loyalty: RunningSuite, postgres: Postgres
) -> None:
    with loyalty.client() as client:
        with held_up(postgres):
            begun = begin(client)
            asked_at = time.monotonic()
            assert not wait(client, begun.name, seconds=1).done
            assert 0.9 < time.monotonic() - asked_at < 10
            with pytest.raises(vafa.DeadlineExceeded):
                client.wait(begun, timeout_seconds=0.5)
        assert wait(client, begun.name, seconds=10).HasField("response")


def test_a_running_operation_that_is_cancelled_ends_so(
    loyalty: RunningSuite, postgres: Postgres, store: Connection
) -> None:
    with loyalty.client() as client:
        with held_up(postgres):
            begun = begin(client)
            until(lambda: is_taken_up(store, begun))
            cancel(client, begun.name)
            cancelled_at = store.execute("SELECT now()").fetchone()
            # Its runner hears of it when it renews its lease.
            until(lambda: lease_time(store, begun) > cancelled_at)
        ended = wait(client, begun.name, seconds=5)
        require_cancelled(ended)
        with pytest.raises(vafa.Cancelled) as refused:
            client.wait(ended, timeout_seconds=1)
        assert refused.value.reason == "OPERATION_CANCELLED"
        # The service goes on to the next.
        assert wait(client, begin(client).name, seconds=10).HasField("response")


def test_a_waiting_operation_that_is_cancelled_never_runs(
    loyalty: RunningSuite, store: Connection
) -> None:
    with loyalty.client() as client:
        with not_taken_up(store):
            begun = begin(client)
            cancel(client, begun.name)
            assert not ask(client, begun.name).done
        require_cancelled(wait(client, begun.name, seconds=10))


def test_operations_are_finished_though_the_service_was_killed_before_or_meanwhile(
    loyalty: RunningSuite, postgres: Postgres, store: Connection
) -> None:
    with loyalty.client() as client, held_up(postgres):
        running = begin(client)
        until(lambda: is_taken_up(store, running))
        with not_taken_up(store):
            waiting = begin(client)
            loyalty.kill("loyalty")
    loyalty.start("loyalty")
    with loyalty.client() as client:
        assert wait(client, waiting.name, seconds=5).HasField("response")
        assert not ask(client, running.name).done
        assert wait(client, running.name, seconds=LEASE_SECONDS + 5).HasField("response")
