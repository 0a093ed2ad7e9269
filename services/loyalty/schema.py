"""The tables of the loyalty service."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)

from services.chassis.rows import Json, Text, UtcTime
from services.chassis.schema import NAMING, chassis_tables

metadata = MetaData(naming_convention=NAMING)
chassis = chassis_tables(metadata)

MEMBER_KEY = ("program_id", "member_id")

# Whom loyalty has heard of: contacts that the contacts service told of, and those of orders
# that came before. Its row is locked before a membership of the contact is made or activated.
known_contacts = Table(
    "known_contacts",
    metadata,
    Column("contact", Text, primary_key=True),
    # Whether the contacts service told of it.
    Column("confirmed", Boolean, nullable=False),
)

programs = Table(
    "programs",
    metadata,
    Column("program_id", Text, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("update_time", UtcTime, nullable=False),
    Column("labels", Json, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("currency_code", Text, nullable=False),
    # The earn rate: points for so many minor units. Null: orders earn nothing.
    Column("earn_points", BigInteger, nullable=True),
    Column("earn_per_minor", BigInteger, nullable=True),
    Index(None, "create_time", "program_id"),
    Index(None, "update_time", "program_id"),
    Index(None, "display_name", "program_id"),
    Index(None, "currency_code", "program_id"),
)
program_labels = Table(
    "program_labels",
    metadata,
    Column("program_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    ForeignKeyConstraint(["program_id"], ["programs.program_id"]),
    Index(None, "key", "value", "program_id"),
)

members = Table(
    "members",
    metadata,
    Column("program_id", Text, primary_key=True),
    Column("member_id", Text, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("update_time", UtcTime, nullable=False),
    Column("labels", Json, nullable=False),
    Column("contact", Text, nullable=False),
    Column("state", Integer, nullable=False),
    # The sum of the member's available entries, kept beside them; VerifyLedger compares.
    Column("points_balance", BigInteger, nullable=False),
    # The sums of what the member was ever awarded and ever spent, kept and compared likewise.
    # With a default for replicas that do not know of them yet while a new release is rolled out.
    Column("points_issued", BigInteger, nullable=False, server_default=text("0")),
    Column("points_redeemed", BigInteger, nullable=False, server_default=text("0")),
    ForeignKeyConstraint(["program_id"], ["programs.program_id"]),
    Index(None, "contact", "program_id"),
    Index(None, "program_id", "create_time", "member_id"),
    Index(None, "create_time", "program_id", "member_id"),
    Index(None, "update_time", "program_id", "member_id"),
    Index(None, "program_id", "points_balance", "member_id"),
    Index(None, "points_balance", "program_id", "member_id"),
    Index(None, "state", "program_id", "member_id"),
)
member_labels = Table(
    "member_labels",
    metadata,
    Column("program_id", Text, primary_key=True),
    Column("member_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    ForeignKeyConstraint(MEMBER_KEY, ["members.program_id", "members.member_id"]),
    Index(None, "key", "value"),
)

orders = Table(
    "orders",
    metadata,
    Column("program_id", Text, primary_key=True),
    Column("order_id", Text, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("labels", Json, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("contact", Text, nullable=False),
    Column("member_id", Text, nullable=False),
    Column("order_time", UtcTime, nullable=False),
    Column("lines", Json, nullable=False),
    Column("payments", Json, nullable=False),
    Column("currency_code", Text, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("points_earned", BigInteger, nullable=False),
    # SHA-256 of what the caller gave: an order is recorded once, and a repeat must be alike.
    Column("content_hash", LargeBinary, nullable=False),
    UniqueConstraint("program_id", "external_id"),
    ForeignKeyConstraint(MEMBER_KEY, ["members.program_id", "members.member_id"]),
    Index(None, "contact", "order_time", "program_id", "order_id"),
    Index(None, "program_id", "order_time", "order_id"),
    Index(None, "order_time", "program_id", "order_id"),
    Index(None, "program_id", "create_time", "order_id"),
    Index(None, "create_time", "program_id", "order_id"),
    Index(None, "external_id"),
    Index(None, "points_earned"),
)
order_labels = Table(
    "order_labels",
    metadata,
    Column("program_id", Text, primary_key=True),
    Column("order_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    ForeignKeyConstraint(["program_id", "order_id"], ["orders.program_id", "orders.order_id"]),
    Index(None, "key", "value"),
)
# The lines of the orders, drawn from them, to find orders and to count products by.
order_lines = Table(
    "order_lines",
    metadata,
    Column("program_id", Text, primary_key=True),
    Column("order_id", Text, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    ForeignKeyConstraint(["program_id", "order_id"], ["orders.program_id", "orders.order_id"]),
    Index(None, "sku", "program_id", "order_id"),
    Index(None, "category", "program_id", "order_id"),
)

# Three tables to which rows are added and, but for what is left in a lot, nothing else is
# done: the migration makes triggers that refuse it.
ledger_transactions = Table(
    "ledger_transactions",
    metadata,
    Column("program_id", Text, primary_key=True),
    Column("member_id", Text, primary_key=True),
    Column("ledger_transaction_id", Text, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("points", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("order_id", Text, nullable=True),
    Column("principal", Text, nullable=False),
    Column("points_balance", BigInteger, nullable=False),
    # An order posts once.
    UniqueConstraint("program_id", "order_id"),
    ForeignKeyConstraint(MEMBER_KEY, ["members.program_id", "members.member_id"]),
    Index(
        "ix_ledger_transactions_program_time",
        *("program_id", "create_time", "member_id", "ledger_transaction_id"),
    ),
    # Of one contact, in one programme or in any.
    Index(
        "ix_ledger_transactions_contact_time",
        *("member_id", "create_time", "program_id", "ledger_transaction_id"),
    ),
    Index(None, "program_id", "kind", "points"),
    Index(None, "program_id", "reason"),
)
ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("program_id", Text, primary_key=True),
    Column("member_id", Text, primary_key=True),
    Column("ledger_transaction_id", Text, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("account", Integer, nullable=False),
    Column("lot_id", Text, nullable=True),
    Column("points", BigInteger, nullable=False),
    ForeignKeyConstraint(
        [*MEMBER_KEY, "ledger_transaction_id"],
        [
            "ledger_transactions.program_id",
            "ledger_transactions.member_id",
            "ledger_transactions.ledger_transaction_id",
        ],
    ),
)
lots = Table(
    "lots",
    metadata,
    Column("program_id", Text, primary_key=True),
    Column("member_id", Text, primary_key=True),
    Column("lot_id", Text, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("points_issued", BigInteger, nullable=False),
    Column("points_remaining", BigInteger, nullable=False),
    Column("ledger_transaction_id", Text, nullable=False),
    ForeignKeyConstraint(MEMBER_KEY, ["members.program_id", "members.member_id"]),
    Index(None, "program_id", "member_id", "create_time", "lot_id"),
    Index(
        "ix_lots_open",
        *("program_id", "member_id", "create_time", "lot_id"),
        postgresql_where=Column("points_remaining") > 0,
        sqlite_where=Column("points_remaining") > 0,
    ),
)
