"""The ledger transactions of one contact, in whatever programme, in the order of time."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the index."""
    op.create_index(
        "ix_ledger_transactions_contact_time",
        "ledger_transactions",
        ["member_id", "create_time", "program_id", "ledger_transaction_id"],
        unique=False,
    )
