"""Two ways to give events dense positions, on PostgreSQL, by commits a second.

Either the sequencer numbers them after their commits, as the services do, or each transaction
takes its number from the head row, last, and so holds that row until it has committed.
"""

import threading
import time
from collections.abc import Callable
from statistics import median

from rich.table import Table
from sqlalchemy import Connection, Engine, create_engine, func, select, update

from services.chassis.feed import PAUSE_SECONDS
from services.chassis.migrate import migrate
from services.chassis.rows import EPOCH
from services.chassis.sequencer import number_committed
from services.contacts.schema import chassis
from tests.harness.postgres import Postgres

WRITERS = 6
ROUNDS = 3
SECONDS = 3.0
# What a commit costs on a disk that must be waited for.
SLOW_COMMIT = ("-c commit_delay=4000", "-c commit_siblings=0")
Write = Callable[[Connection], None]


def insert_event(connection: Connection, position: int | None) -> None:
    """Insert an event, numbered or not."""
    connection.execute(
        chassis.outbox.insert().values(
            aggregatetype="bench",
            aggregateid="bench",
            type="bench.written",
            payload=b"x" * 100,
            position=position,
            create_time=EPOCH,
        )
    )


def numbered_afterwards(connection: Connection) -> None:
    """Write as the services do."""
    insert_event(connection, None)


def numbered_by_head_row(connection: Connection) -> None:
    """Write with the head row taken last."""
    store = chassis.store
    head = update(store).values(head_position=store.c.head_position + 1)
    insert_event(connection, connection.execute(head.returning(store.c.head_position)).scalar_one())


def commits_a_second(engine: Engine, write: Write) -> float:
    """Let six writers commit for some seconds, and a sequencer number what has no position;
    the feed must be dense in the end.
    """
    counts = [0] * WRITERS
    ends_at = time.monotonic() + SECONDS

    def writer(n: int) -> None:
        with engine.connect() as connection:
            while time.monotonic() < ends_at:
                with connection.begin():
                    write(connection)
                counts[n] += 1

    def sequencer() -> None:
        with engine.connect() as connection:
            left = True
            while left or time.monotonic() < ends_at + 0.2:
                with connection.begin():
                    numbered = number_committed(connection, chassis)
                left = numbered is not None and bool(numbered.events)
                # As the services do.
                time.sleep(PAUSE_SECONDS)

    threads = [threading.Thread(target=writer, args=(n,)) for n in range(WRITERS)]
    threads.append(threading.Thread(target=sequencer))
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads[:-1]:
        thread.join()
    seconds = time.monotonic() - began
    threads[-1].join()
    with engine.connect() as connection:
        outbox = chassis.outbox
        found = connection.execute(select(func.count(), func.max(outbox.c.position))).one()
        assert found[0] == found[1], "the feed has a gap"
    return sum(counts) / seconds


def measure(url: str, options: str) -> tuple[float, float]:
    """Return the medians of both ways on an empty database, taken in turn."""
    engine = create_engine(url, pool_size=WRITERS + 2, connect_args={"options": options})
    rates: dict[Write, list[float]] = {numbered_afterwards: [], numbered_by_head_row: []}
    for _ in range(ROUNDS):
        for write, found in rates.items():
            found.append(commits_a_second(engine, write))
    engine.dispose()
    return median(rates[numbered_afterwards]), median(rates[numbered_by_head_row])


def report(postgres: Postgres) -> Table:
    """Measure with quick commits and with commits of 4 ms, and return the table."""
    table = Table(
        title=f"positions of events: {WRITERS} writers, {ROUNDS} rounds of {SECONDS:.0f} s"
    )
    for heading in ("commits", "after the commit /s", "by the head row /s", "after ÷ head row"):
        table.add_column(heading, justify="left" if heading == "commits" else "right")
    for name, options in (("as they are", ""), ("of 4 ms", " ".join(SLOW_COMMIT))):
        url = postgres.create("bench_feed")
        migrate("contacts", url)
        after, head = measure(url, options)
        table.add_row(name, f"{after:,.0f}", f"{head:,.0f}", f"{after / head:.2f}")
    return table
