"""The feed: dense, in the order of commits, and nothing lost, whatever happens to it."""

import asyncio
import subprocess
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, LiteralString

import psycopg
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

import vafa
from services.chassis.sequencer import LOCK_KEY
from tests.conftest import DATABASES
from tests.harness.postgres import PROGRAMS, Postgres
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2

FEED = "feeds/contacts"
DATABASE = "feed_contacts"
Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """The contacts service alone, on SQLite."""
    folder = tmp_path_factory.mktemp("feed-sqlite")
    suite = RunningSuite(folder, {"contacts": f"sqlite:///{folder}/contacts.db"})
    suite.start("contacts")
    yield suite
    suite.stop()


@pytest.fixture(scope="module")
def on_postgresql(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningSuite]:
    """The contacts service alone, on PostgreSQL."""
    suite = RunningSuite(tmp_path_factory.mktemp("feed"), {"contacts": postgres.create(DATABASE)})
    suite.start("contacts")
    yield suite
    suite.stop()


@pytest.fixture(params=DATABASES)
def contacts(request: pytest.FixtureRequest) -> RunningSuite:
    """The contacts service alone, once on each database."""
    suite: RunningSuite = request.getfixturevalue(f"on_{request.param}")
    return suite


@pytest.fixture
def store(postgres: Postgres, on_postgresql: RunningSuite) -> Iterator[Connection]:
    """A connection of our own to the PostgreSQL of the service; each statement commits."""
    with psycopg.connect(postgres.conninfo(DATABASE), autocommit=True) as connection:
        yield connection


def create(client: vafa.Suite, contact_id: str = "") -> str:
    """Create a contact and return its name."""
    contact = contacts_pb2.Contact(display_name="Ada")
    request = contacts_pb2.CreateContactRequest(contact=contact, contact_id=contact_id)
    return client.contacts.CreateContact(request).name


def set_source(name: str, value: str) -> contacts_pb2.UpdateContactRequest:
    """Return the request for a change of a contact."""
    return contacts_pb2.UpdateContactRequest(
        contact=contacts_pb2.Contact(name=name, acquisition_source=value),
        update_mask=FieldMask(paths=["acquisition_source"]),
    )


def page(
    client: vafa.Suite, after: events_pb2.Cursor | None = None, size: int = 1000
) -> events_pb2.ListEventsResponse:
    """Return one page of the feed."""
    request = events_pb2.ListEventsRequest(parent=FEED, after=after, page_size=size)
    return client.events("contacts").ListEvents(request)


def events_after(
    client: vafa.Suite, after: events_pb2.Cursor | None = None
) -> list[events_pb2.Event]:
    """Return all events after a cursor, from several pages."""
    events: list[events_pb2.Event] = []
    while True:
        got = page(client, after, size=300)
        if not got.events:
            return events
        events += got.events
        after = got.next


def head(client: vafa.Suite) -> events_pb2.Cursor:
    """Return the cursor behind the last event."""
    return page(client, size=1).head


def require_dense(events: Sequence[events_pb2.Event], first: int) -> None:
    """Fail unless the positions rise by one from the first, and no event comes twice."""
    assert [event.position for event in events] == list(range(first, first + len(events)))
    assert len({event.uid for event in events}) == len(events)


def insert_event(connection: Connection, event_type: str, subject: str) -> str:
    """Insert an event as the service does, without a position; return its uid."""
    uid, now = str(uuid.uuid4()), Timestamp()
    now.GetCurrentTime()
    event = events_pb2.Event(uid=uid, type=event_type, subject=subject, create_time=now)
    connection.execute(
        "INSERT INTO outbox (aggregatetype, aggregateid, type, payload, create_time)"
        " VALUES ('contact', %s, %s, %s, now())",
        (subject, event_type, event.SerializeToString()),
    )
    return uid


def count(store: Connection, rows: LiteralString) -> int:
    """Return how many rows there are, given as what stands behind FROM."""
    (counted,) = store.execute("SELECT count(*) FROM " + rows).fetchall()  # noqa: S608
    return int(counted[0])


def waits_for_a_lock(store: Connection) -> bool:
    """Whether the service waits for a lock that somebody else has."""
    of_service = "pg_stat_activity WHERE datname = current_database()"
    return count(store, of_service + " AND wait_event_type = 'Lock'") > 0


def test_an_event_that_commits_late_comes_after_those_that_readers_have_passed(
    on_postgresql: RunningSuite, postgres: Postgres
) -> None:
    with on_postgresql.client() as client, psycopg.connect(postgres.conninfo(DATABASE)) as late:
        before = head(client)
        uid = insert_event(late, "contact.updated", "contacts/late")
        names = [create(client) for _ in range(5)]
        until(lambda: head(client).position == before.position + 5)
        reader = head(client)
        late.commit()
        until(lambda: head(client).position == before.position + 6)
        assert [event.uid for event in events_after(client, reader)] == [uid]
        events = events_after(client, before)
    require_dense(events, before.position + 1)
    assert [event.subject for event in events] == [*names, "contacts/late"]


def test_the_events_of_one_subject_keep_the_order_of_its_commits(
    on_postgresql: RunningSuite, store: Connection, postgres: Postgres
) -> None:
    with on_postgresql.client() as client, psycopg.connect(postgres.conninfo(DATABASE)) as late:
        before = head(client)
        name = create(client)
        own_id = name.removeprefix("contacts/")
        late.execute("SELECT 1 FROM contacts WHERE contact_id = %s FOR NO KEY UPDATE", (own_id,))
        uid = insert_event(late, "contact.updated", name)
        with ThreadPoolExecutor(1) as pool:
            change = pool.submit(client.contacts.UpdateContact, set_source(name, "later"))
            until(lambda: waits_for_a_lock(store))
            others = [create(client) for _ in range(3)]
            late.commit()
            change.result()
        until(lambda: head(client).position == before.position + 6)
        events = events_after(client, before)
    require_dense(events, before.position + 1)
    of_subject = [event for event in events if event.subject == name]
    assert [event.type for event in of_subject] == ["contact.created", *["contact.updated"] * 2]
    assert of_subject[1].uid == uid
    assert [event.subject for event in events if event.subject in others] == others


def test_an_open_transaction_in_another_database_does_not_hold_the_feed_up(
    on_postgresql: RunningSuite, postgres: Postgres
) -> None:
    postgres.create("feed_stranger")
    conninfo = postgres.conninfo("feed_stranger")
    with on_postgresql.client() as client, psycopg.connect(conninfo) as stranger:
        stranger.execute("CREATE TABLE kept_open (id integer)")
        before = head(client)
        create(client)
        until(lambda: head(client).position == before.position + 1, within_seconds=1)
        stranger.rollback()


def test_events_committed_before_a_kill_are_numbered_after_the_restart(
    on_postgresql: RunningSuite, store: Connection
) -> None:
    with on_postgresql.client() as client:
        before = head(client)
        # Nobody can number while this lock is held.
        store.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        names = [create(client) for _ in range(20)]
        assert head(client) == before
    on_postgresql.kill("contacts")
    store.execute("SELECT pg_advisory_unlock(%s)", (LOCK_KEY,))
    on_postgresql.start("contacts")
    with on_postgresql.client() as client:
        until(lambda: head(client).position == before.position + 20)
        events = events_after(client, before)
    require_dense(events, before.position + 1)
    assert [event.subject for event in events] == names


def test_a_kill_among_writes_loses_no_event_and_numbers_none_twice(
    on_postgresql: RunningSuite, store: Connection
) -> None:
    with on_postgresql.client() as client:
        before = head(client)
    contacts_before = count(store, "contacts")
    all_acknowledged: set[str] = set()
    for _ in range(2):
        with on_postgresql.client() as client, ThreadPoolExecutor(4) as pool:
            done = pool.map(lambda _, c=client: tried(c), range(4))
            reached = head(client).position + 40
            until(lambda c=client, p=reached: head(c).position >= p)  # type: ignore[misc]
            on_postgresql.kill("contacts")
            acknowledged = {name for names in done for name in names}
        on_postgresql.start("contacts")
        assert len(acknowledged) >= 35
        with on_postgresql.client() as client:
            until(lambda: not count(store, "outbox WHERE position IS NULL"))
            events = events_after(client, before)
        all_acknowledged |= acknowledged
        require_dense(events, before.position + 1)
        created = [event.subject for event in events]
        assert all_acknowledged <= set(created)
        assert len(created) == len(set(created)) == count(store, "contacts") - contacts_before


def tried(client: vafa.Suite) -> list[str]:
    """Create contacts until the service is gone; return those that it acknowledged."""
    names: list[str] = []
    while True:
        try:
            names.append(create(client))
        except vafa.VafaError:
            return names


def test_six_writers_over_two_replicas_make_one_dense_feed(
    on_postgresql: RunningSuite, store: Connection
) -> None:
    on_postgresql.start("contacts-2")
    with on_postgresql.client() as client:
        names = [create(client) for _ in range(12)]
        until(lambda: not count(store, "outbox WHERE position IS NULL"))
        before = head(client)

        async def write() -> None:
            first = on_postgresql.aio_client()
            second = on_postgresql.aio_client(replica="contacts-2")
            async with first, second:

                async def writer(number: int, replica: vafa.aio.Suite) -> None:
                    for n in range(200):
                        value = f"{number}-{n}"
                        await replica.contacts.UpdateContact(
                            set_source(names[(n * 7 + number) % len(names)], value)
                        )

                replicas = [first, second] * 3
                await asyncio.gather(*(writer(n, replica) for n, replica in enumerate(replicas)))

        asyncio.run(write())
        until(lambda: head(client).position == before.position + 1200)
        events = events_after(client, before)
    on_postgresql.stop("contacts-2")
    require_dense(events, before.position + 1)
    versions: defaultdict[str, list[int]] = defaultdict(list)
    for event in events:
        versions[event.subject].append(event.subject_version)
    assert set(versions) == set(names)
    for of_subject in versions.values():
        assert of_subject == list(range(2, 2 + len(of_subject)))


def test_a_stream_brings_new_events_within_a_second_and_is_resumed_at_its_cursor(
    contacts: RunningSuite,
) -> None:
    with contacts.client() as client:
        request = events_pb2.StreamEventsRequest(parent=FEED, after=head(client))
        stream = client.events("contacts").StreamEvents(request)
        assert not next(stream).events
        delays_seconds: list[float] = []
        for _ in range(3):
            name = create(client)
            created_at = time.monotonic()
            part = next(stream)
            delays_seconds.append(time.monotonic() - created_at)
            assert [event.subject for event in part.events] == [name]
            assert part.next == part.head
        # The quickest is the service's own; what else the machine has to do is in the others.
        assert min(delays_seconds) < 1
        stream.cancel()
        names = [create(client) for _ in range(150)]
        request.after.CopyFrom(part.next)
        resumed = client.events("contacts").StreamEvents(request)
        events: list[events_pb2.Event] = []
        while len(events) < len(names):
            part = next(resumed)
            assert len(part.events) <= 100
            events += part.events
        resumed.cancel()
    require_dense(events, request.after.position + 1)
    assert [event.subject for event in events] == names


def test_readers_who_leave_their_streams_do_not_hurt_the_service(on_sqlite: RunningSuite) -> None:
    async def leave_often(suite: vafa.aio.Suite) -> None:
        for _ in range(30):
            request = events_pb2.StreamEventsRequest(parent=FEED)
            stream = suite.events("contacts").StreamEvents(request)
            async for _part in stream:
                stream.cancel()
                break

    async def read() -> None:
        async with on_sqlite.aio_client() as suite:
            await asyncio.gather(*(leave_often(suite) for _ in range(4)))

    with on_sqlite.client() as client:
        create(client)
        asyncio.run(read())
        assert create(client)


def test_an_idle_stream_says_that_it_lives(on_sqlite: RunningSuite) -> None:
    with on_sqlite.client() as client:
        request = events_pb2.StreamEventsRequest(parent=FEED, after=head(client))
        stream = client.events("contacts").StreamEvents(request, timeout=20)
        for part in (next(stream), next(stream)):
            assert not part.events
            assert part.next == part.head == request.after
        stream.cancel()


def test_a_page_holds_no_more_than_asked_for_and_an_empty_one_keeps_the_cursor(
    contacts: RunningSuite,
) -> None:
    with contacts.client() as client:
        before = head(client)
        for _ in range(3):
            create(client)
        until(lambda: head(client).position == before.position + 3)
        first = page(client, before, size=2)
        assert len(first.events) == 2
        assert first.next.position == before.position + 2
        assert first.head.position == before.position + 3
        end = page(client, first.head)
    assert not end.events
    assert end.next == end.head == first.head


def test_a_feed_of_another_service_is_not_found(contacts: RunningSuite) -> None:
    with contacts.client() as client:
        events = client.events("contacts")
        with pytest.raises(vafa.NotFound) as listed:
            events.ListEvents(events_pb2.ListEventsRequest(parent="feeds/loyalty"))
        with pytest.raises(vafa.NotFound) as streamed:
            next(events.StreamEvents(events_pb2.StreamEventsRequest(parent="feeds/loyalty")))
    assert listed.value.reason == streamed.value.reason == "RESOURCE_NOT_FOUND"


def require_expired(client: vafa.Suite, cursor: events_pb2.Cursor) -> vafa.VafaError:
    """Fail unless a cursor is refused as expired, listed as well as streamed."""
    with pytest.raises(vafa.OutOfRange) as listed:
        page(client, cursor)
    request = events_pb2.StreamEventsRequest(parent=FEED, after=cursor)
    with pytest.raises(vafa.OutOfRange) as streamed:
        next(client.events("contacts").StreamEvents(request))
    assert listed.value.reason == streamed.value.reason == "CURSOR_EXPIRED"
    return listed.value


def test_a_cursor_of_another_epoch_or_beyond_the_head_has_expired(contacts: RunningSuite) -> None:
    with contacts.client() as client:
        create(client)
        until(lambda: head(client).position > 0)
        end = head(client)
        beyond = end.position + 1000
        cursors = [
            events_pb2.Cursor(epoch=str(uuid.uuid4()), position=1),
            events_pb2.Cursor(epoch=str(uuid.uuid4())),
            events_pb2.Cursor(epoch=end.epoch, position=beyond),
            events_pb2.Cursor(position=beyond),
        ]
        for cursor in cursors:
            error = require_expired(client, cursor)
            assert error.metadata["epoch"] == end.epoch


def test_pruned_events_expire_the_cursors_before_them_and_the_positions_go_on(
    contacts: RunningSuite,
) -> None:
    with contacts.client() as client:
        start = head(client)
        for _ in range(4):
            create(client)
        until(lambda: head(client).position == start.position + 4)
        old = page(client, start, size=2).next
        end = head(client)
    contacts.stop("contacts")
    contacts.start("contacts", event_retention_days="0.0000001")
    with contacts.client() as client:
        until(lambda: not page(client).events)
        error = require_expired(client, old)
        assert error.metadata["oldest_position"] == str(end.position + 1)
        # Who has read all of it has missed nothing.
        assert page(client, end).next == end
        name = create(client)
        until(lambda: head(client).position == end.position + 1)
        assert [event.subject for event in events_after(client, end)] == [name]
        assert [event.subject for event in events_after(client)] == [name]
    contacts.stop("contacts")
    contacts.start("contacts")


def test_a_reader_whom_the_pruning_overtakes_is_told_and_misses_nothing_silently(
    on_postgresql: RunningSuite, store: Connection, postgres: Postgres
) -> None:
    reading = "pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%outbox.payload%'"
    with ExitStack() as stack:
        client = stack.enter_context(on_postgresql.client())
        start = head(client)
        for _ in range(4):
            create(client)
        until(lambda: head(client).position == start.position + 4)
        old = page(client, start, size=1).next
        pruner = stack.enter_context(psycopg.connect(postgres.conninfo(DATABASE)))
        pool = stack.enter_context(ThreadPoolExecutor(1))
        pruner.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        read = pool.submit(page, client, old)
        until(lambda: count(store, reading) > 0)
        pruned = (old.position + 1,)
        pruner.execute("DELETE FROM outbox WHERE position <= %s", pruned)
        pruner.execute("UPDATE store SET pruned_position = %s", pruned)
        pruner.commit()
        with pytest.raises(vafa.OutOfRange):
            read.result()


def test_a_restored_copy_keeps_the_positions_and_a_new_epoch_ends_the_old_cursors(
    on_postgresql: RunningSuite,
    store: Connection,
    postgres: Postgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with on_postgresql.client() as client:
        start = head(client)
        create(client)
        until(lambda: head(client).position == start.position + 1)
        end, kept = head(client), events_after(client)
    with ExitStack() as stack:
        other = Postgres()
        stack.callback(other.remove)
        other.start()
        url = other.create(DATABASE)
        # Committed and not numbered yet when the copy was made.
        store.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        uid = insert_event(store, "contact.updated", "contacts/copied")
        copy = program(postgres, "pg_dump", DATABASE)
        store.execute("SELECT pg_advisory_unlock(%s)", (LOCK_KEY,))
        program(other, "psql", "-v", "ON_ERROR_STOP=1", "-d", DATABASE, given=copy)
        restored = RunningSuite(tmp_path_factory.mktemp("restored"), {"contacts": url})
        stack.callback(restored.stop)
        restored.start("contacts")
        client = stack.enter_context(restored.client())
        until(lambda: head(client).position == end.position + 1)
        name = create(client)
        until(lambda: head(client).position == end.position + 2)
        fresh = events_after(client, end)
        assert events_after(client) == [*kept, *fresh]
        require_dense(fresh, end.position + 1)
        assert [fresh[0].uid, fresh[1].subject] == [uid, name]
        epoch = str(uuid.uuid4())
        with psycopg.connect(other.conninfo(DATABASE)) as connection:
            connection.execute("UPDATE store SET epoch = %s", (epoch,))
        assert require_expired(client, end).metadata["epoch"] == epoch
        assert page(client).next.epoch == epoch


def program(server: Postgres, name: str, *arguments: str, given: str = "") -> str:
    """Run a program of PostgreSQL against a cluster; return what it wrote."""
    place = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres"]
    done = subprocess.run(
        [PROGRAMS / name, *place, *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
