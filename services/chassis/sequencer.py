"""Gives committed events their dense positions, and drops those that are old."""

from datetime import datetime

from sqlalchemy import Connection, delete, func, select, update

from services.chassis.rows import update_rows
from services.chassis.schema import ChassisTables

# Any number will do as long as it is the same in every replica: "vafa" in ASCII.
LOCK_KEY = 0x76616661
CHUNK = 5000


def number_events(connection: Connection, tables: ChassisTables) -> int | None:
    """Number the committed events that have no position yet, in the order of their ids.

    Returns how many; None if another replica is at it, which may have begun too early to see
    all of them. The lock is taken in a statement of
    its own: taken inside the numbering, it would come after that statement's view of the rows.
    """
    if connection.dialect.name == "postgresql":
        lock = select(func.pg_try_advisory_xact_lock(LOCK_KEY))
        if not connection.execute(lock).scalar_one():
            return None
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
