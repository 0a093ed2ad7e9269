"""The tables of the contacts service."""

from sqlalchemy import Column, Date, ForeignKey, Index, Integer, MetaData, Table

from services.chassis.rows import Json, Text, UtcTime
from services.chassis.schema import NAMING, chassis_tables

metadata = MetaData(naming_convention=NAMING)
chassis = chassis_tables(metadata)


def _contact_id(*, primary_key: bool = True) -> Column[str]:
    owner = ForeignKey("contacts.contact_id")
    return Column("contact_id", Text, owner, primary_key=primary_key, nullable=False)


contacts = Table(
    "contacts",
    metadata,
    Column("contact_id", Text, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("update_time", UtcTime, nullable=False),
    Column("delete_time", UtcTime, nullable=True),
    Column("labels", Json, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("given_name", Text, nullable=False),
    Column("family_name", Text, nullable=False),
    Column("emails", Json, nullable=False),
    Column("phones", Json, nullable=False),
    Column("social_handles", Json, nullable=False),
    Column("occupation", Text, nullable=False),
    Column("birth_date", Date, nullable=True),
    Column("locale", Text, nullable=False),
    Column("acquisition_source", Text, nullable=False),
    Column("lifecycle_stage", Integer, nullable=False),
    Column("owner", Text, nullable=False),
    Column("custom_fields", Json, nullable=True),
    Column("external_ids", Json, nullable=False),
    Index(None, "create_time", "contact_id"),
    Index(None, "update_time", "contact_id"),
    Index(None, "display_name", "contact_id"),
    # What many share is followed by what lists are ordered by unless a caller says otherwise.
    Index(None, "owner", "create_time", "contact_id"),
    Index(None, "acquisition_source", "create_time", "contact_id"),
    Index(None, "lifecycle_stage", "create_time", "contact_id"),
    Index(None, "kind", "create_time", "contact_id"),
)

# What contacts are found by, drawn from the contacts themselves.
contact_labels = Table(
    "contact_labels",
    metadata,
    _contact_id(),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    # The contact's own, so that all who have a label lie in the order of a list. Its update_time
    # is not here: every change of a contact would write its labels anew.
    Column("create_time", UtcTime, nullable=False),
    Column("display_name", Text, nullable=False),
    Index(None, "key", "value", "create_time", "contact_id"),
    Index(None, "key", "value", "display_name", "contact_id"),
)
contact_emails = Table(
    "contact_emails",
    metadata,
    _contact_id(),
    Column("address_key", Text, primary_key=True),
    Index(None, "address_key", "contact_id"),
)
contact_phones = Table(
    "contact_phones",
    metadata,
    _contact_id(),
    Column("number", Text, primary_key=True),
    Index(None, "number", "contact_id"),
)
contact_external_ids = Table(
    "contact_external_ids",
    metadata,
    Column("system", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    _contact_id(primary_key=False),
    Index(None, "contact_id"),
    Index(None, "value", "contact_id"),
)
# Every suffix of a name's search key, so that a range of prefixes finds any part of it.
contact_name_parts = Table(
    "contact_name_parts",
    metadata,
    _contact_id(),
    Column("part", Text, primary_key=True),
    Index(None, "part", "contact_id"),
)

interactions = Table(
    "interactions",
    metadata,
    _contact_id(),
    Column("interaction_id", Text, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("labels", Json, nullable=False),
    Column("channel", Integer, nullable=False),
    Column("direction", Integer, nullable=False),
    Column("agent", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("occur_time", UtcTime, nullable=False),
    Index(None, "contact_id", "occur_time", "interaction_id"),
    Index(None, "occur_time", "contact_id", "interaction_id"),
    Index(None, "create_time", "contact_id", "interaction_id"),
    Index(None, "agent", "contact_id", "interaction_id"),
    Index(None, "channel", "contact_id", "interaction_id"),
    Index(None, "direction", "contact_id", "interaction_id"),
)
interaction_labels = Table(
    "interaction_labels",
    metadata,
    Column("contact_id", Text, primary_key=True),
    Column("interaction_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Index(None, "key", "value"),
)
