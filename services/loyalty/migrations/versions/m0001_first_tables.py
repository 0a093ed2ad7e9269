"""The first tables of the service."""

import sqlalchemy as sa
from alembic import op

from services.chassis.first_tables import make_first_tables
from services.chassis.rows import Json, Text, UtcTime
from services.loyalty.immutability import make_immutable

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    make_first_tables()
    op.create_table(
        "known_contacts",
        sa.Column("contact", Text, nullable=False),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("contact", name=op.f("pk_known_contacts")),
    )
    op.create_table(
        "programs",
        sa.Column("program_id", Text, nullable=False),
        sa.Column("uid", Text, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.Column("update_time", UtcTime(), nullable=False),
        sa.Column("labels", Json, nullable=False),
        sa.Column("display_name", Text, nullable=False),
        sa.Column("currency_code", Text, nullable=False),
        sa.Column("earn_points", sa.BigInteger(), nullable=True),
        sa.Column("earn_per_minor", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("program_id", name=op.f("pk_programs")),
    )
    op.create_index(
        op.f("ix_programs_create_time_program_id"),
        "programs",
        ["create_time", "program_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_programs_currency_code_program_id"),
        "programs",
        ["currency_code", "program_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_programs_display_name_program_id"),
        "programs",
        ["display_name", "program_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_programs_update_time_program_id"),
        "programs",
        ["update_time", "program_id"],
        unique=False,
    )
    op.create_table(
        "members",
        sa.Column("program_id", Text, nullable=False),
        sa.Column("member_id", Text, nullable=False),
        sa.Column("uid", Text, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.Column("update_time", UtcTime(), nullable=False),
        sa.Column("labels", Json, nullable=False),
        sa.Column("contact", Text, nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("points_balance", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["program_id"], ["programs.program_id"], name=op.f("fk_members_program_id")
        ),
        sa.PrimaryKeyConstraint("program_id", "member_id", name=op.f("pk_members")),
    )
    op.create_index(
        op.f("ix_members_contact_program_id"), "members", ["contact", "program_id"], unique=False
    )
    op.create_index(
        op.f("ix_members_create_time_program_id_member_id"),
        "members",
        ["create_time", "program_id", "member_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_members_points_balance_program_id_member_id"),
        "members",
        ["points_balance", "program_id", "member_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_members_program_id_create_time_member_id"),
        "members",
        ["program_id", "create_time", "member_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_members_program_id_points_balance_member_id"),
        "members",
        ["program_id", "points_balance", "member_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_members_state_program_id_member_id"),
        "members",
        ["state", "program_id", "member_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_members_update_time_program_id_member_id"),
        "members",
        ["update_time", "program_id", "member_id"],
        unique=False,
    )
    op.create_table(
        "program_labels",
        sa.Column("program_id", Text, nullable=False),
        sa.Column("key", Text, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["program_id"], ["programs.program_id"], name=op.f("fk_program_labels_program_id")
        ),
        sa.PrimaryKeyConstraint("program_id", "key", name=op.f("pk_program_labels")),
    )
    op.create_index(
        op.f("ix_program_labels_key_value_program_id"),
        "program_labels",
        ["key", "value", "program_id"],
        unique=False,
    )
    op.create_table(
        "ledger_transactions",
        sa.Column("program_id", Text, nullable=False),
        sa.Column("member_id", Text, nullable=False),
        sa.Column("ledger_transaction_id", Text, nullable=False),
        sa.Column("uid", Text, nullable=False),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("reason", Text, nullable=False),
        sa.Column("order_id", Text, nullable=True),
        sa.Column("principal", Text, nullable=False),
        sa.Column("points_balance", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["program_id", "member_id"],
            ["members.program_id", "members.member_id"],
            name=op.f("fk_ledger_transactions_program_id_member_id"),
        ),
        sa.PrimaryKeyConstraint(
            "program_id", "member_id", "ledger_transaction_id", name=op.f("pk_ledger_transactions")
        ),
        sa.UniqueConstraint(
            "program_id", "order_id", name=op.f("uq_ledger_transactions_program_id_order_id")
        ),
    )
    op.create_index(
        "ix_ledger_transactions_member_time",
        "ledger_transactions",
        ["program_id", "member_id", "create_time", "ledger_transaction_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_ledger_transactions_program_id_kind_points"),
        "ledger_transactions",
        ["program_id", "kind", "points"],
        unique=False,
    )
    op.create_index(
        op.f("ix_ledger_transactions_program_id_points"),
        "ledger_transactions",
        ["program_id", "points"],
        unique=False,
    )
    op.create_index(
        op.f("ix_ledger_transactions_program_id_reason"),
        "ledger_transactions",
        ["program_id", "reason"],
        unique=False,
    )
    op.create_index(
        "ix_ledger_transactions_program_time",
        "ledger_transactions",
        ["program_id", "create_time", "member_id", "ledger_transaction_id"],
        unique=False,
    )
    op.create_table(
        "lots",
        sa.Column("program_id", Text, nullable=False),
        sa.Column("member_id", Text, nullable=False),
        sa.Column("lot_id", Text, nullable=False),
        sa.Column("uid", Text, nullable=False),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.Column("points_issued", sa.BigInteger(), nullable=False),
        sa.Column("points_remaining", sa.BigInteger(), nullable=False),
        sa.Column("ledger_transaction_id", Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["program_id", "member_id"],
            ["members.program_id", "members.member_id"],
            name=op.f("fk_lots_program_id_member_id"),
        ),
        sa.PrimaryKeyConstraint("program_id", "member_id", "lot_id", name=op.f("pk_lots")),
    )
    op.create_index(
        op.f("ix_lots_program_id_member_id_create_time_lot_id"),
        "lots",
        ["program_id", "member_id", "create_time", "lot_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_lots_program_id_member_id_points_remaining"),
        "lots",
        ["program_id", "member_id", "points_remaining"],
        unique=False,
    )
    op.create_table(
        "member_labels",
        sa.Column("program_id", Text, nullable=False),
        sa.Column("member_id", Text, nullable=False),
        sa.Column("key", Text, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["program_id", "member_id"],
            ["members.program_id", "members.member_id"],
            name=op.f("fk_member_labels_program_id_member_id"),
        ),
        sa.PrimaryKeyConstraint("program_id", "member_id", "key", name=op.f("pk_member_labels")),
    )
    op.create_index(
        op.f("ix_member_labels_key_value"), "member_labels", ["key", "value"], unique=False
    )
    op.create_table(
        "orders",
        sa.Column("program_id", Text, nullable=False),
        sa.Column("order_id", Text, nullable=False),
        sa.Column("uid", Text, nullable=False),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.Column("labels", Json, nullable=False),
        sa.Column("external_id", Text, nullable=False),
        sa.Column("contact", Text, nullable=False),
        sa.Column("member_id", Text, nullable=False),
        sa.Column("order_time", UtcTime(), nullable=False),
        sa.Column("lines", Json, nullable=False),
        sa.Column("payments", Json, nullable=False),
        sa.Column("currency_code", Text, nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("points_earned", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["program_id", "member_id"],
            ["members.program_id", "members.member_id"],
            name=op.f("fk_orders_program_id_member_id"),
        ),
        sa.PrimaryKeyConstraint("program_id", "order_id", name=op.f("pk_orders")),
        sa.UniqueConstraint(
            "program_id", "external_id", name=op.f("uq_orders_program_id_external_id")
        ),
    )
    op.create_index(
        op.f("ix_orders_contact_order_time_program_id_order_id"),
        "orders",
        ["contact", "order_time", "program_id", "order_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_orders_create_time_program_id_order_id"),
        "orders",
        ["create_time", "program_id", "order_id"],
        unique=False,
    )
    op.create_index(op.f("ix_orders_external_id"), "orders", ["external_id"], unique=False)
    op.create_index(
        op.f("ix_orders_order_time_program_id_order_id"),
        "orders",
        ["order_time", "program_id", "order_id"],
        unique=False,
    )
    op.create_index(op.f("ix_orders_points_earned"), "orders", ["points_earned"], unique=False)
    op.create_index(
        op.f("ix_orders_program_id_create_time_order_id"),
        "orders",
        ["program_id", "create_time", "order_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_orders_program_id_member_id_order_time"),
        "orders",
        ["program_id", "member_id", "order_time"],
        unique=False,
    )
    op.create_index(
        op.f("ix_orders_program_id_order_time_order_id"),
        "orders",
        ["program_id", "order_time", "order_id"],
        unique=False,
    )
    op.create_table(
        "ledger_entries",
        sa.Column("program_id", Text, nullable=False),
        sa.Column("member_id", Text, nullable=False),
        sa.Column("ledger_transaction_id", Text, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("account", sa.Integer(), nullable=False),
        sa.Column("lot_id", Text, nullable=True),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["program_id", "member_id", "ledger_transaction_id"],
            [
                "ledger_transactions.program_id",
                "ledger_transactions.member_id",
                "ledger_transactions.ledger_transaction_id",
            ],
            name=op.f("fk_ledger_entries_program_id_member_id_ledger_transaction_id"),
        ),
        sa.PrimaryKeyConstraint(
            "program_id",
            "member_id",
            "ledger_transaction_id",
            "ordinal",
            name=op.f("pk_ledger_entries"),
        ),
    )
    op.create_index(
        op.f("ix_ledger_entries_program_id_account"),
        "ledger_entries",
        ["program_id", "account"],
        unique=False,
    )
    op.create_table(
        "order_labels",
        sa.Column("program_id", Text, nullable=False),
        sa.Column("order_id", Text, nullable=False),
        sa.Column("key", Text, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["program_id", "order_id"],
            ["orders.program_id", "orders.order_id"],
            name=op.f("fk_order_labels_program_id_order_id"),
        ),
        sa.PrimaryKeyConstraint("program_id", "order_id", "key", name=op.f("pk_order_labels")),
    )
    op.create_index(
        op.f("ix_order_labels_key_value"), "order_labels", ["key", "value"], unique=False
    )
    op.create_table(
        "order_lines",
        sa.Column("program_id", Text, nullable=False),
        sa.Column("order_id", Text, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("sku", Text, nullable=False),
        sa.Column("category", Text, nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["program_id", "order_id"],
            ["orders.program_id", "orders.order_id"],
            name=op.f("fk_order_lines_program_id_order_id"),
        ),
        sa.PrimaryKeyConstraint("program_id", "order_id", "ordinal", name=op.f("pk_order_lines")),
    )
    op.create_index(
        op.f("ix_order_lines_category_program_id_order_id"),
        "order_lines",
        ["category", "program_id", "order_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_order_lines_sku_program_id_order_id"),
        "order_lines",
        ["sku", "program_id", "order_id"],
        unique=False,
    )
    make_immutable(op.get_bind())
