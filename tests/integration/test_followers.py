"""Those who follow a feed get every event once and in its order, whoever numbered it."""

import asyncio
import uuid
from collections.abc import Iterator, Sequence

import psycopg
import pytest

import vafa
from tests.harness.postgres import Postgres
from tests.harness.suite import RunningSuite
from tests.harness.waiting import PATIENCE_SECONDS
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2

FEED = "feeds/contacts"
DATABASE = "followers_contacts"
REPLICAS = ("", "contacts-2")
# More than a page, and more than what stays in memory.
LONG_FEED = 1500


@pytest.fixture(scope="module")
def replicas(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningSuite]:
    """Two replicas of contacts on PostgreSQL."""
    urls = {"contacts": postgres.create(DATABASE)}
    suite = RunningSuite(tmp_path_factory.mktemp("followers"), urls)
    suite.start("contacts", "contacts-2")
    yield suite
    suite.stop()


def head(running: RunningSuite) -> events_pb2.Cursor:
    """Return the cursor behind the last event."""
    request = events_pb2.ListEventsRequest(parent=FEED, page_size=1)
    with running.client() as client:
        return client.events("contacts").ListEvents(request).head


async def create(suite: vafa.aio.Suite, count: int) -> None:
    """Create contacts, in one call."""
    one = contacts_pb2.CreateContactRequest(contact=contacts_pb2.Contact(display_name="Ada"))
    await suite.contacts.BatchCreateContacts(
        contacts_pb2.BatchCreateContactsRequest(requests=[one] * count)
    )


async def follow(
    suite: vafa.aio.Suite, after: events_pb2.Cursor, last_position: int
) -> list[events_pb2.Event]:
    """Return what a stream gives up to a position, after checking what it says of places."""
    events: list[events_pb2.Event] = []
    request = events_pb2.StreamEventsRequest(parent=FEED, after=after)
    stream = suite.events("contacts").StreamEvents(request)
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for part in stream:
            assert part.head.position >= part.next.position
            assert part.next.epoch == part.head.epoch != ""
            events += part.events
            if events:
                assert part.next.position == events[-1].position
            if part.next.position >= last_position:
                stream.cancel()
                break
    return events


def require_dense(events: Sequence[events_pb2.Event], first: int, last: int) -> None:
    """Fail unless the events are those from one position to another, each once."""
    assert [event.position for event in events] == list(range(first, last + 1))
    assert len({event.uid for event in events}) == len(events)


@pytest.mark.parametrize(
    "writers", [REPLICAS, REPLICAS[1:]], ids=["through both replicas", "through one replica"]
)
def test_followers_of_each_replica_get_all_that_is_written_meanwhile(
    replicas: RunningSuite, writers: Sequence[str]
) -> None:
    before = head(replicas)
    count = 120
    last = before.position + count * len(writers)

    async def write(replica: str) -> None:
        async with replicas.aio_client(replica=replica) as suite:
            for _ in range(count // 3):
                await create(suite, 3)

    async def read(replica: str) -> list[events_pb2.Event]:
        async with replicas.aio_client(replica=replica) as suite:
            return await follow(suite, before, last)

    async def both() -> list[list[events_pb2.Event]]:
        async with asyncio.TaskGroup() as tasks:
            reading = [tasks.create_task(read(replica)) for replica in REPLICAS]
            for replica in writers:
                tasks.create_task(write(replica))
        return [task.result() for task in reading]

    one, other = asyncio.run(both())
    require_dense(one, before.position + 1, last)
    assert one == other


def test_who_comes_from_far_behind_reaches_the_end_while_it_moves(replicas: RunningSuite) -> None:
    before = head(replicas)
    last = before.position + LONG_FEED + 40

    async def story() -> list[events_pb2.Event]:
        async with replicas.aio_client() as suite:
            for _ in range(LONG_FEED // 500):
                await create(suite, 500)
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(follow(suite, before, last))
                for _ in range(40):
                    await create(suite, 1)
            return reading.result()

    require_dense(asyncio.run(story()), before.position + 1, last)


def test_who_stands_at_the_end_when_the_epoch_changes_is_told(
    replicas: RunningSuite, postgres: Postgres
) -> None:
    request = events_pb2.StreamEventsRequest(parent=FEED, after=head(replicas))
    with replicas.client() as client:
        stream = client.events("contacts").StreamEvents(request)
        assert not next(stream).events
        with psycopg.connect(postgres.conninfo(DATABASE)) as connection:
            connection.execute("UPDATE store SET epoch = %s", (str(uuid.uuid4()),))
        contact = contacts_pb2.Contact(display_name="Ada")
        client.contacts.CreateContact(contacts_pb2.CreateContactRequest(contact=contact))
        with pytest.raises(vafa.OutOfRange) as told:
            next(stream)
    assert told.value.reason == "CURSOR_EXPIRED"
