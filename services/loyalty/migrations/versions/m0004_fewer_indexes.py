"""Drops the indexes that others serve for: each cost every posting."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

DROPPED = {
    "ix_ledger_entries_program_id_account": "ledger_entries",
    "ix_ledger_transactions_member_time": "ledger_transactions",
    "ix_ledger_transactions_program_id_points": "ledger_transactions",
    "ix_lots_program_id_member_id_points_remaining": "lots",
    "ix_orders_program_id_member_id_order_time": "orders",
}


def upgrade() -> None:
    """Drop them; the lots with points left get an index without the others."""
    for index, table in DROPPED.items():
        op.drop_index(index, table)
    has_points = sa.text("points_remaining > 0")
    op.create_index(
        "ix_lots_open",
        "lots",
        ["program_id", "member_id", "create_time", "lot_id"],
        unique=False,
        postgresql_where=has_points,
        sqlite_where=has_points,
    )
