"""The tables of the gateway."""

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table

from services.chassis.rows import Json, Text, UtcTime
from services.chassis.schema import NAMING, chassis_tables

metadata = MetaData(naming_convention=NAMING)
chassis = chassis_tables(metadata)

api_keys = Table(
    "api_keys",
    metadata,
    Column("api_key_id", Text, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("update_time", UtcTime, nullable=False),
    Column("labels", Json, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("roles", Json, nullable=False),
    Column("expire_time", UtcTime, nullable=False),
    Column("state", Integer, nullable=False),
    Column("revoke_time", UtcTime, nullable=True),
    Column("creator", Text, nullable=False),
    # The SHA-256 of the secret, which stands nowhere.
    Column("secret_hash", LargeBinary, nullable=False),
    Index(None, "create_time", "api_key_id"),
    Index(None, "display_name", "api_key_id"),
    Index(None, "expire_time", "api_key_id"),
    Index(None, "state", "api_key_id"),
    Index(None, "creator", "api_key_id"),
)
api_key_labels = Table(
    "api_key_labels",
    metadata,
    Column("api_key_id", Text, ForeignKey("api_keys.api_key_id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Index(None, "key", "value", "api_key_id"),
)
