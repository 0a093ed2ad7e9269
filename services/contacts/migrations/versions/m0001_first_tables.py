"""The first tables of the service."""

import sqlalchemy as sa
from alembic import op

from services.chassis.first_tables import make_first_tables
from services.chassis.rows import Json, Text, UtcTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    make_first_tables()
    op.create_table(
        "contacts",
        sa.Column("contact_id", Text, nullable=False),
        sa.Column("uid", Text, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.Column("update_time", UtcTime(), nullable=False),
        sa.Column("delete_time", UtcTime(), nullable=True),
        sa.Column("labels", Json, nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("display_name", Text, nullable=False),
        sa.Column("given_name", Text, nullable=False),
        sa.Column("family_name", Text, nullable=False),
        sa.Column("emails", Json, nullable=False),
        sa.Column("phones", Json, nullable=False),
        sa.Column("social_handles", Json, nullable=False),
        sa.Column("occupation", Text, nullable=False),
        sa.Column("birth_date", sa.Date(), nullable=True),
        sa.Column("locale", Text, nullable=False),
        sa.Column("acquisition_source", Text, nullable=False),
        sa.Column("lifecycle_stage", sa.Integer(), nullable=False),
        sa.Column("owner", Text, nullable=False),
        sa.Column("custom_fields", Json, nullable=True),
        sa.Column("external_ids", Json, nullable=False),
        sa.PrimaryKeyConstraint("contact_id", name=op.f("pk_contacts")),
    )
    op.create_index(
        op.f("ix_contacts_acquisition_source_contact_id"),
        "contacts",
        ["acquisition_source", "contact_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_contacts_create_time_contact_id"),
        "contacts",
        ["create_time", "contact_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_contacts_display_name_contact_id"),
        "contacts",
        ["display_name", "contact_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_contacts_kind_contact_id"), "contacts", ["kind", "contact_id"], unique=False
    )
    op.create_index(
        op.f("ix_contacts_lifecycle_stage_contact_id"),
        "contacts",
        ["lifecycle_stage", "contact_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_contacts_owner_contact_id"), "contacts", ["owner", "contact_id"], unique=False
    )
    op.create_index(
        op.f("ix_contacts_update_time_contact_id"),
        "contacts",
        ["update_time", "contact_id"],
        unique=False,
    )
    op.create_table(
        "interaction_labels",
        sa.Column("contact_id", Text, nullable=False),
        sa.Column("interaction_id", Text, nullable=False),
        sa.Column("key", Text, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.PrimaryKeyConstraint(
            "contact_id", "interaction_id", "key", name=op.f("pk_interaction_labels")
        ),
    )
    op.create_index(
        op.f("ix_interaction_labels_key_value"),
        "interaction_labels",
        ["key", "value"],
        unique=False,
    )
    op.create_table(
        "contact_emails",
        sa.Column("contact_id", Text, nullable=False),
        sa.Column("address_key", Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.contact_id"], name=op.f("fk_contact_emails_contact_id")
        ),
        sa.PrimaryKeyConstraint("contact_id", "address_key", name=op.f("pk_contact_emails")),
    )
    op.create_index(
        op.f("ix_contact_emails_address_key_contact_id"),
        "contact_emails",
        ["address_key", "contact_id"],
        unique=False,
    )
    op.create_table(
        "contact_external_ids",
        sa.Column("system", Text, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.Column("contact_id", Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.contact_id"], name=op.f("fk_contact_external_ids_contact_id")
        ),
        sa.PrimaryKeyConstraint("system", "value", name=op.f("pk_contact_external_ids")),
    )
    op.create_index(
        op.f("ix_contact_external_ids_contact_id"),
        "contact_external_ids",
        ["contact_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_contact_external_ids_value_contact_id"),
        "contact_external_ids",
        ["value", "contact_id"],
        unique=False,
    )
    op.create_table(
        "contact_labels",
        sa.Column("contact_id", Text, nullable=False),
        sa.Column("key", Text, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.contact_id"], name=op.f("fk_contact_labels_contact_id")
        ),
        sa.PrimaryKeyConstraint("contact_id", "key", name=op.f("pk_contact_labels")),
    )
    op.create_index(
        op.f("ix_contact_labels_key_value_contact_id"),
        "contact_labels",
        ["key", "value", "contact_id"],
        unique=False,
    )
    op.create_table(
        "contact_name_parts",
        sa.Column("contact_id", Text, nullable=False),
        sa.Column("part", Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.contact_id"], name=op.f("fk_contact_name_parts_contact_id")
        ),
        sa.PrimaryKeyConstraint("contact_id", "part", name=op.f("pk_contact_name_parts")),
    )
    op.create_index(
        op.f("ix_contact_name_parts_part_contact_id"),
        "contact_name_parts",
        ["part", "contact_id"],
        unique=False,
    )
    op.create_table(
        "contact_phones",
        sa.Column("contact_id", Text, nullable=False),
        sa.Column("number", Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.contact_id"], name=op.f("fk_contact_phones_contact_id")
        ),
        sa.PrimaryKeyConstraint("contact_id", "number", name=op.f("pk_contact_phones")),
    )
    op.create_index(
        op.f("ix_contact_phones_number_contact_id"),
        "contact_phones",
        ["number", "contact_id"],
        unique=False,
    )
    op.create_table(
        "interactions",
        sa.Column("contact_id", Text, nullable=False),
        sa.Column("interaction_id", Text, nullable=False),
        sa.Column("uid", Text, nullable=False),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.Column("labels", Json, nullable=False),
        sa.Column("channel", sa.Integer(), nullable=False),
        sa.Column("direction", sa.Integer(), nullable=False),
        sa.Column("agent", Text, nullable=False),
        sa.Column("subject", Text, nullable=False),
        sa.Column("body", Text, nullable=False),
        sa.Column("occur_time", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.contact_id"], name=op.f("fk_interactions_contact_id")
        ),
        sa.PrimaryKeyConstraint("contact_id", "interaction_id", name=op.f("pk_interactions")),
    )
    op.create_index(
        op.f("ix_interactions_agent_contact_id_interaction_id"),
        "interactions",
        ["agent", "contact_id", "interaction_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_interactions_channel_contact_id_interaction_id"),
        "interactions",
        ["channel", "contact_id", "interaction_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_interactions_contact_id_occur_time_interaction_id"),
        "interactions",
        ["contact_id", "occur_time", "interaction_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_interactions_create_time_contact_id_interaction_id"),
        "interactions",
        ["create_time", "contact_id", "interaction_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_interactions_direction_contact_id_interaction_id"),
        "interactions",
        ["direction", "contact_id", "interaction_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_interactions_occur_time_contact_id_interaction_id"),
        "interactions",
        ["occur_time", "contact_id", "interaction_id"],
        unique=False,
    )
