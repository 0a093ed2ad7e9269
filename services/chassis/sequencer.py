"""Gives committed events their dense positions, and drops those that are old."""

from datetime import datetime

from sqlalchemy import Connection, delete, func, select, update

from services.chassis.rows import update_rows
from services.chassis.schema import ChassisTables

# Any number will do as long as it is the same in every replica: "vafa" in ASCII.
LOCK_KEY = 0x76616661
CHUNK = 5000


def number_events(connection: Connection, tables: ChassisTables) -> int:
    """Number the committed events that have no position yet, in the order of their ids.

    Returns how many; 0 also if another replica is at it. The lock is taken in a statement of
    its own: taken inside the numbering, it would come after that statement's view of the rows.
    """
    if connection.dialect.name == "postgresql":
        lock = select(func.pg_try_advisory_xact_lock(LOCK_KEY))
        if not connection.execute(lock).scalar_one():
            return 0
    outbox, store = tables.outbox, tables.store
    unnumbered = (
        select(outbox.c.id).where(outbox.c.position.is_(None)).order_by(outbox.c.id).limit(CHUNK)
    )
    ids = list(connection.execute(unnumbered).scalars())
    if not ids:
        return 0
    head = connection.execute(
        update(store)
        .values(head_position=store.c.head_position + len(ids))
        .returning(store.c.head_position)
    ).scalar_one()
    first = head - len(ids) + 1
    numbered = [{"id": id_, "position": first + n} for n, id_ in enumerate(ids)]
    update_rows(connection, outbox, ["id"], numbered)
    return len(ids)


def prune_events(connection: Connection, tables: ChassisTables, before: datetime) -> int:
    """Delete numbered events made before a time, oldest first, a chunk at most; return how many.

    Nobody's cursor holds them back.
    """
    outbox, store = tables.outbox, tables.store
    old = (
        select(outbox.c.position)
        .where(outbox.c.position.is_not(None), outbox.c.create_time < before)
        .order_by(outbox.c.position)
        .limit(CHUNK)
    )
    positions = list(connection.execute(old).scalars())
    if positions:
        connection.execute(delete(outbox).where(outbox.c.position <= positions[-1]))
        connection.execute(update(store).values(pruned_position=positions[-1]))
    return len(positions)


def prune_idempotency(connection: Connection, tables: ChassisTables, before: datetime) -> int:
    """Delete answers stored before a time, a chunk at most; return how many."""
    table = tables.idempotency
    key = (table.c.principal, table.c.method, table.c.request_id)
    old = select(*key).where(table.c.create_time < before).limit(CHUNK)
    rows = connection.execute(old).all()
    for row in rows:
        connection.execute(
            delete(table).where(*(column == value for column, value in zip(key, row, strict=True)))
        )
    return len(rows)
