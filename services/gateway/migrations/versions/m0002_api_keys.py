"""API keys."""

import sqlalchemy as sa
from alembic import op

from services.chassis.rows import Json, Text, UtcTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make their tables."""
    op.create_table(
        "api_keys",
        sa.Column("api_key_id", Text, nullable=False),
        sa.Column("uid", Text, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.Column("update_time", UtcTime(), nullable=False),
        sa.Column("labels", Json, nullable=False),
        sa.Column("display_name", Text, nullable=False),
        sa.Column("roles", Json, nullable=False),
        sa.Column("expire_time", UtcTime(), nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("revoke_time", UtcTime(), nullable=True),
        sa.Column("creator", Text, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("api_key_id", name=op.f("pk_api_keys")),
    )
    for column in ("create_time", "display_name", "expire_time", "state", "creator"):
        name = op.f(f"ix_api_keys_{column}_api_key_id")
        op.create_index(name, "api_keys", [column, "api_key_id"], unique=False)
    op.create_table(
        "api_key_labels",
        sa.Column("api_key_id", Text, nullable=False),
        sa.Column("key", Text, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["api_key_id"], ["api_keys.api_key_id"], name=op.f("fk_api_key_labels_api_key_id")
        ),
        sa.PrimaryKeyConstraint("api_key_id", "key", name=op.f("pk_api_key_labels")),
    )
    op.create_index(
        op.f("ix_api_key_labels_key_value_api_key_id"),
        "api_key_labels",
        ["key", "value", "api_key_id"],
        unique=False,
    )
