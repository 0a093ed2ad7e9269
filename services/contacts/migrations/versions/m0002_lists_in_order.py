"""Contacts that share a label, an owner and the like lie in the order in which they are listed."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from services.chassis.rows import Text, UtcTime, keep_statistics

revision = "0002"
down_revision = "0001"

SHARED = ("acquisition_source", "kind", "lifecycle_stage", "owner")
ORDERS: dict[str, Any] = {"create_time": UtcTime(), "display_name": Text}


def upgrade() -> None:
    """Add what lists are ordered by to the indexes of what many share."""
    for name in SHARED:
        op.drop_index(op.f(f"ix_contacts_{name}_contact_id"), "contacts")
        op.create_index(
            op.f(f"ix_contacts_{name}_create_time_contact_id"),
            "contacts",
            [name, "create_time", "contact_id"],
            unique=False,
        )
    for name, type_ in ORDERS.items():
        op.add_column("contact_labels", sa.Column(name, type_, nullable=True))
    labels, contacts = (
        sa.table(table, *map(sa.column, ("contact_id", *ORDERS)))
        for table in ("contact_labels", "contacts")
    )
    own = contacts.c.contact_id == labels.c.contact_id
    values = {name: sa.select(contacts.c[name]).where(own).scalar_subquery() for name in ORDERS}
    op.execute(labels.update().values(values))
    with op.batch_alter_table("contact_labels") as batch:
        for name, type_ in ORDERS.items():
            batch.alter_column(name, existing_type=type_, nullable=False)
    op.drop_index(op.f("ix_contact_labels_key_value_contact_id"), "contact_labels")
    for name in ORDERS:
        op.create_index(
            op.f(f"ix_contact_labels_key_value_{name}_contact_id"),
            "contact_labels",
            ["key", "value", name, "contact_id"],
            unique=False,
        )
    keep_statistics(op.get_bind(), "contact_labels", "key", "value")
    # A word of a search may be in the name of nobody, or of every tenth.
    keep_statistics(op.get_bind(), "contact_name_parts", "part")
