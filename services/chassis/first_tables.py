"""The chassis's tables as the first migration of every service makes them."""

import secrets
import uuid

import sqlalchemy as sa
from alembic import op

from services.chassis.rows import Json, Serial, Text, UtcTime

STORE_COLUMNS = ("id", "epoch", "page_token_key", "head_position", "pruned_position")


def make_first_tables() -> None:
    """Make them, and give the database its identity.

    It stays as it is: later changes are migrations of their own.
    """
    op.create_table(
        "audit",
        sa.Column("id", Serial, nullable=False),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.Column("principal", Text, nullable=False),
        sa.Column("method", Text, nullable=False),
        sa.Column("request_id", Text, nullable=False),
        sa.Column("action", Text, nullable=False),
        sa.Column("resource", Text, nullable=False),
        sa.Column("changed_paths", Json, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_request_id"), "audit", ["request_id"], unique=False)
    op.create_index(op.f("ix_audit_resource_id"), "audit", ["resource", "id"], unique=False)
    op.create_table(
        "cursors",
        sa.Column("source", Text, nullable=False),
        sa.Column("epoch", Text, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("update_time", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_cursors")),
    )
    op.create_table(
        "idempotency",
        sa.Column("principal", Text, nullable=False),
        sa.Column("method", Text, nullable=False),
        sa.Column("request_id", Text, nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=True),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("principal", "method", "request_id", name=op.f("pk_idempotency")),
    )
    op.create_index(
        op.f("ix_idempotency_create_time"), "idempotency", ["create_time"], unique=False
    )
    op.create_table(
        "operations",
        sa.Column("id", Text, nullable=False),
        sa.Column("kind", Text, nullable=False),
        sa.Column("principal", Text, nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("progress", sa.LargeBinary(), nullable=False),
        sa.Column("error", sa.LargeBinary(), nullable=True),
        sa.Column("response", sa.LargeBinary(), nullable=True),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.Column("lease_time", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operations")),
    )
    op.create_index(
        op.f("ix_operations_done_lease_time"), "operations", ["done", "lease_time"], unique=False
    )
    op.create_table(
        "outbox",
        sa.Column("id", Serial, nullable=False),
        sa.Column("aggregatetype", Text, nullable=False),
        sa.Column("aggregateid", Text, nullable=False),
        sa.Column("type", Text, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("position", name=op.f("uq_outbox_position")),
    )
    op.create_index(
        "ix_outbox_unnumbered",
        "outbox",
        ["id"],
        unique=False,
        postgresql_where=sa.text("position IS NULL"),
        sqlite_where=sa.text("position IS NULL"),
    )
    op.create_table(
        "parked_events",
        sa.Column("source", Text, nullable=False),
        sa.Column("epoch", Text, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("subject", Text, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", Text, nullable=False),
        sa.Column("park_time", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("source", "epoch", "position", name=op.f("pk_parked_events")),
    )
    op.create_index(
        op.f("ix_parked_events_source_subject_position"),
        "parked_events",
        ["source", "subject", "position"],
        unique=False,
    )
    op.create_table(
        "store",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", Text, nullable=False),
        sa.Column("page_token_key", sa.LargeBinary(), nullable=False),
        sa.Column("head_position", sa.BigInteger(), nullable=False),
        sa.Column("pruned_position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_store")),
    )
    store = sa.table("store", *map(sa.column, STORE_COLUMNS))
    op.execute(
        store.insert().values(
            id=1,
            epoch=str(uuid.uuid4()),
            page_token_key=secrets.token_bytes(32),
            head_position=0,
            pruned_position=0,
        )
    )
