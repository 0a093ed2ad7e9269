"""Gives committed events their dense positions, and drops those that are old."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Update, bindparam, delete, func, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from services.chassis.schema import ChassisTables

# Any number will do as long as it is the same in every replica: "vafa" in ASCII.
LOCK_KEY = 0x76616661
OTHER_JOINS = ("enable_hashjoin", "enable_mergejoin")
# So many are numbered by one statement.
NUMBERED_EVENTS = 1000
CHUNK = 5000


@dataclass(frozen=True)
class Numbered:
    """The head of a feed, and the events numbered up to it: position and payload, in order."""

    epoch: str
    head_position: int
    events: Sequence[tuple[int, bytes]]


def number_events(connection: Connection, tables: ChassisTables) -> int:
    """Number the events that have no position yet, in the order of their ids; return how many.

    For who is alone at it, as the one writer of SQLite is.
    """
    total = 0
    while True:
        count = connection.execute(_give_positions(tables)).rowcount
        total += count
        if count:
            connection.execute(_move_head(tables), {"count": count})
        if count < NUMBERED_EVENTS:
            return total


def number_committed(connection: Connection, tables: ChassisTables) -> Numbered | None:
    """Number the committed events of PostgreSQL that have no position yet, in the order of their
    ids, at most NUMBERED_EVENTS.

    None if another replica is at it, which may have begun too early to see all of them. The lock
    is taken in a statement of its own: taken inside the numbering, it would come after that
    statement's view of the rows.
    """
    # What is numbered is looked up row by row. Statistics of a moment with much to number would
    # have the whole feed read for each event.
    one_by_one = (func.set_config(name, "off", True) for name in OTHER_JOINS)
    lock = select(func.pg_try_advisory_xact_lock(LOCK_KEY), *one_by_one)
    if not connection.execute(lock).one()[0]:
        return None
    numbered = connection.execute(_give_positions_and_tell(tables)).all()
    if numbered:
        head = connection.execute(_move_head(tables), {"count": len(numbered)})
    else:
        head = connection.execute(select(tables.store.c.epoch, tables.store.c.head_position))
    epoch, head_position = head.one()
    return Numbered(epoch, head_position, sorted((row[0], row[1]) for row in numbered))


@functools.cache
def _give_positions(tables: ChassisTables) -> Update:
    """Return the statement that numbers from the head on; it leaves the head where it is."""
    outbox, head_position = tables.outbox, select(tables.store.c.head_position).scalar_subquery()
    fresh = (
        select(outbox.c.id, func.row_number().over(order_by=outbox.c.id).label("place"))
        .where(outbox.c.position.is_(None))
        .order_by(outbox.c.id)
        .limit(NUMBERED_EVENTS)
        .subquery("fresh")
    )
    numbering = update(outbox).where(outbox.c.id == fresh.c.id)
    return numbering.values(position=head_position + fresh.c.place)


@functools.cache
def _give_positions_and_tell(tables: ChassisTables) -> ReturningUpdate[int, bytes]:
    outbox = tables.outbox
    return _give_positions(tables).returning(outbox.c.position, outbox.c.payload)


@functools.cache
def _move_head(tables: ChassisTables) -> ReturningUpdate[str, int]:
    store = tables.store
    moved = update(store).values(head_position=store.c.head_position + bindparam("count"))
    return moved.returning(store.c.epoch, store.c.head_position)


def prune_events(connection: Connection, tables: ChassisTables, before: datetime) -> int:
    """Delete numbered events made before a time, oldest first, a chunk at most; return how many.

    Nobody's cursor holds them back.
    """
    outbox, store = tables.outbox, tables.store
    # The time is compared here: in the query, it would read all of a feed that is young.
    oldest = (
        select(outbox.c.position, outbox.c.create_time)
        .where(outbox.c.position.is_not(None))
        .order_by(outbox.c.position)
        .limit(CHUNK)
    )
    old = [row.position for row in connection.execute(oldest) if row.create_time < before]
    if old:
        connection.execute(delete(outbox).where(outbox.c.position <= old[-1]))
        # Another replica may have come further meanwhile.
        behind = store.c.pruned_position < old[-1]
        connection.execute(update(store).where(behind).values(pruned_position=old[-1]))
    return len(old)


def prune_idempotency(connection: Connection, tables: ChassisTables, before: datetime) -> int:
    """Delete answers stored before a time, oldest first, about a chunk; return how many."""
    create_time = tables.idempotency.c.create_time
    old = select(create_time).where(create_time < before).order_by(create_time).limit(CHUNK)
    times = list(connection.execute(old).scalars())
    if times:
        connection.execute(delete(tables.idempotency).where(create_time <= times[-1]))
    return len(times)
