"""A service of the bench that follows loyalty, and tells when what it heard of is in its database.

`python -m bench.follower DATABASE_URL LOYALTY_ADDRESS TOKEN_FILE` follows until it is stopped. For
each event that it has committed it writes a line: the key of the event, and the moment by
`time.perf_counter`, which on Linux is one clock for all processes.
"""

import asyncio
import functools
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Column, MetaData, Table, create_engine

from services.chassis.consumer import Consumer
from services.chassis.database import Database
from services.chassis.metrics import Metrics
from services.chassis.rows import Text, insert_new_rows
from services.chassis.schema import chassis_tables
from services.chassis.settings import ServiceSettings
from services.chassis.transaction import Transaction
from vafa import aio
from vafa.events.v1 import events_pb2

metadata = MetaData()
chassis = chassis_tables(metadata)
# What was heard of: each event once.
heard = Table(
    "heard",
    metadata,
    Column("uid", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
)


def make_tables(database_url: str, source: str, epoch: str, position: int) -> None:
    """Make the tables in an empty database, with the cursor at a place of a feed."""
    engine = create_engine(database_url)
    with engine.begin() as connection:
        metadata.create_all(connection)
        store = {"id": 1, "epoch": "", "page_token_key": b""}
        connection.execute(
            chassis.store.insert(), store | {"head_position": 0, "pruned_position": 0}
        )
        place = {"source": source, "epoch": epoch, "position": position}
        connection.execute(chassis.cursors.insert(), place | {"update_time": datetime.now(UTC)})
    engine.dispose()


def key_of(event: events_pb2.Event) -> str:
    """Return by what the cause of an event is known: the request, or who is a member now."""
    return event.request_id if event.type == "points.awarded" else event.subject


def hear(transaction: Transaction, events: Sequence[events_pb2.Event]) -> None:
    """Write events down, and tell of them once that is committed."""
    rows = [{"uid": one.uid, "type": one.type, "subject": one.subject} for one in events]
    insert_new_rows(transaction.connection, heard, rows, [heard.c.uid])
    transaction.after_commit.append(functools.partial(_tell, [key_of(one) for one in events]))


def _tell(keys: Sequence[str]) -> None:
    now = time.perf_counter()
    sys.stdout.write("".join(f"{key} {now}\n" for key in keys))
    sys.stdout.flush()


async def _no_rebuild(_suite: aio.Suite, _database: Database) -> None:
    """Do nothing: what was before the bench is of no matter."""


async def follow(database_url: str, address: str, token_file: str) -> None:
    """Follow the feed of loyalty."""
    settings = ServiceSettings(database_url=database_url, listen="", metrics_listen="")
    metrics = Metrics()
    database = Database(settings, chassis, metrics)
    await database.open(lambda: None)
    suite = aio.connect({"loyalty": address}, token_file=token_file)
    handlers = {"points.awarded": hear, "member.updated": hear}
    await Consumer("loyalty", suite, database, handlers, _no_rebuild, metrics).run()


if __name__ == "__main__":
    asyncio.run(follow(*sys.argv[1:]))
