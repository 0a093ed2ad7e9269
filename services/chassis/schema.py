"""The tables that every service has beside its own."""

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
)

from services.chassis.rows import Json, Serial, Text, UtcTime

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


@dataclass(frozen=True)
class ChassisTables:
    """The chassis's tables in the metadata of one service."""

    store: Table
    outbox: Table
    idempotency: Table
    audit: Table
    cursors: Table
    parked_events: Table
    operations: Table


def chassis_tables(metadata: MetaData) -> ChassisTables:
    """Add the chassis's tables to the metadata of a service."""
    return ChassisTables(
        # One row: who this database is.
        store=Table(
            "store",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            # Made with the database and anew at a restore; see the feed.
            Column("epoch", Text, nullable=False),
            Column("page_token_key", LargeBinary, nullable=False),
            # The position that was given last. It outlives the events that had it.
            Column("head_position", BigInteger, nullable=False),
            # The position of the last event that is no longer kept.
            Column("pruned_position", BigInteger, nullable=False),
        ),
        # The columns that Debezium's outbox router expects, and a position.
        outbox=Table(
            "outbox",
            metadata,
            Column("id", Serial, primary_key=True),
            Column("aggregatetype", Text, nullable=False),
            Column("aggregateid", Text, nullable=False),
            Column("type", Text, nullable=False),
            # A vafa.events.v1.Event without its position.
            Column("payload", LargeBinary, nullable=False),
            # Null until the sequencer, after the commit, gives it its place.
            Column("position", BigInteger, nullable=True),
            Column("create_time", UtcTime, nullable=False),
            UniqueConstraint("position"),
            Index(
                "ix_outbox_unnumbered",
                "id",
                postgresql_where=Column("position").is_(None),
                sqlite_where=Column("position").is_(None),
            ),
        ),
        idempotency=Table(
            "idempotency",
            metadata,
            Column("principal", Text, primary_key=True),
            Column("method", Text, primary_key=True),
            Column("request_id", Text, primary_key=True),
            Column("request_hash", LargeBinary, nullable=False),
            # Null only inside the transaction that claims the id.
            Column("response", LargeBinary, nullable=True),
            Column("create_time", UtcTime, nullable=False),
            Index(None, "create_time"),
        ),
        audit=Table(
            "audit",
            metadata,
            Column("id", Serial, primary_key=True),
            Column("create_time", UtcTime, nullable=False),
            Column("principal", Text, nullable=False),
            Column("method", Text, nullable=False),
            Column("request_id", Text, nullable=False),
            Column("action", Text, nullable=False),
            Column("resource", Text, nullable=False),
            Column("changed_paths", Json, nullable=False),
            Index(None, "resource", "id"),
            Index(None, "request_id"),
        ),
        # How far this service has applied the feed of another.
        cursors=Table(
            "cursors",
            metadata,
            Column("source", Text, primary_key=True),
            Column("epoch", Text, nullable=False),
            Column("position", BigInteger, nullable=False),
            Column("update_time", UtcTime, nullable=False),
        ),
        parked_events=Table(
            "parked_events",
            metadata,
            Column("source", Text, primary_key=True),
            Column("epoch", Text, primary_key=True),
            Column("position", BigInteger, primary_key=True),
            Column("subject", Text, nullable=False),
            Column("payload", LargeBinary, nullable=False),
            Column("attempts", Integer, nullable=False),
            Column("last_error", Text, nullable=False),
            Column("park_time", UtcTime, nullable=False),
            Index(None, "source", "subject", "position"),
        ),
        operations=Table(
            "operations",
            metadata,
            Column("id", Text, primary_key=True),
            Column("kind", Text, nullable=False),
            Column("principal", Text, nullable=False),
            Column("request", LargeBinary, nullable=False),
            Column("progress", LargeBinary, nullable=False),
            # A google.rpc.Status or a response, once it has ended.
            Column("error", LargeBinary, nullable=True),
            Column("response", LargeBinary, nullable=True),
            Column("done", Boolean, nullable=False),
            Column("cancel_requested", Boolean, nullable=False),
            Column("create_time", UtcTime, nullable=False),
            # Its runner renews it; one that is old has lost its runner.
            Column("lease_time", UtcTime, nullable=False),
            Index(None, "done", "lease_time"),
        ),
    )
