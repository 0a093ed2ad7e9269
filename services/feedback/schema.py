"""The tables of the feedback service."""

from sqlalchemy import Column, ForeignKeyConstraint, Index, Integer, MetaData, Table

from services.chassis.rows import Json, Text, UtcTime
from services.chassis.schema import NAMING, chassis_tables

metadata = MetaData(naming_convention=NAMING)
chassis = chassis_tables(metadata)

surveys = Table(
    "surveys",
    metadata,
    Column("survey_id", Text, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("update_time", UtcTime, nullable=False),
    Column("labels", Json, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("questions", Json, nullable=False),
    Column("touchpoint", Text, nullable=False),
    Column("state", Integer, nullable=False),
    Column("publish_time", UtcTime, nullable=True),
    Column("close_time", UtcTime, nullable=True),
    Index(None, "create_time", "survey_id"),
    Index(None, "update_time", "survey_id"),
    Index(None, "display_name", "survey_id"),
    Index(None, "kind", "survey_id"),
    Index(None, "touchpoint", "survey_id"),
    Index(None, "state", "survey_id"),
)
survey_labels = Table(
    "survey_labels",
    metadata,
    Column("survey_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    ForeignKeyConstraint(["survey_id"], ["surveys.survey_id"]),
    Index(None, "key", "value", "survey_id"),
)

responses = Table(
    "responses",
    metadata,
    Column("survey_id", Text, primary_key=True),
    Column("response_id", Text, primary_key=True),
    Column("uid", Text, nullable=False),
    Column("create_time", UtcTime, nullable=False),
    Column("labels", Json, nullable=False),
    # Empty for an anonymous answer.
    Column("contact", Text, nullable=False),
    # Null for an answer to an open question, and for no other.
    Column("score", Integer, nullable=True),
    Column("comment", Text, nullable=False),
    Column("language_code", Text, nullable=False),
    Column("answer_time", UtcTime, nullable=False),
    Column("agent", Text, nullable=False),
    # SQL has a word `order` of its own.
    Column("order_name", Text, nullable=False),
    ForeignKeyConstraint(["survey_id"], ["surveys.survey_id"]),
    Index(None, "survey_id", "create_time", "response_id"),
    # With the score, so that those of a period are counted without their rows.
    Index(None, "survey_id", "answer_time", "response_id", "score"),
    Index(None, "contact", "answer_time", "survey_id", "response_id"),
    Index(None, "create_time", "survey_id", "response_id"),
    Index(None, "answer_time", "survey_id", "response_id"),
    Index(None, "score", "survey_id", "response_id"),
    Index(None, "language_code", "survey_id", "response_id"),
    Index(None, "agent", "survey_id", "response_id"),
    Index(None, "order_name", "survey_id", "response_id"),
)
response_labels = Table(
    "response_labels",
    metadata,
    Column("survey_id", Text, primary_key=True),
    Column("response_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    ForeignKeyConstraint(
        ["survey_id", "response_id"], ["responses.survey_id", "responses.response_id"]
    ),
    Index(None, "key", "value", "survey_id", "response_id"),
)
