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
        "surveys",
        sa.Column("survey_id", Text, nullable=False),
        sa.Column("uid", Text, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.Column("update_time", UtcTime(), nullable=False),
        sa.Column("labels", Json, nullable=False),
        sa.Column("display_name", Text, nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("questions", Json, nullable=False),
        sa.Column("touchpoint", Text, nullable=False),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("publish_time", UtcTime(), nullable=True),
        sa.Column("close_time", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("survey_id", name=op.f("pk_surveys")),
    )
    op.create_index(
        op.f("ix_surveys_create_time_survey_id"),
        "surveys",
        ["create_time", "survey_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_surveys_display_name_survey_id"),
        "surveys",
        ["display_name", "survey_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_surveys_kind_survey_id"), "surveys", ["kind", "survey_id"], unique=False
    )
    op.create_index(
        op.f("ix_surveys_state_survey_id"), "surveys", ["state", "survey_id"], unique=False
    )
    op.create_index(
        op.f("ix_surveys_touchpoint_survey_id"),
        "surveys",
        ["touchpoint", "survey_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_surveys_update_time_survey_id"),
        "surveys",
        ["update_time", "survey_id"],
        unique=False,
    )
    op.create_table(
        "responses",
        sa.Column("survey_id", Text, nullable=False),
        sa.Column("response_id", Text, nullable=False),
        sa.Column("uid", Text, nullable=False),
        sa.Column("create_time", UtcTime(), nullable=False),
        sa.Column("labels", Json, nullable=False),
        sa.Column("contact", Text, nullable=False),
        sa.Column("score", sa.Integer(), nullable=True),
        sa.Column("comment", Text, nullable=False),
        sa.Column("language_code", Text, nullable=False),
        sa.Column("answer_time", UtcTime(), nullable=False),
        sa.Column("agent", Text, nullable=False),
        sa.Column("order_name", Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["survey_id"], ["surveys.survey_id"], name=op.f("fk_responses_survey_id")
        ),
        sa.PrimaryKeyConstraint("survey_id", "response_id", name=op.f("pk_responses")),
    )
    op.create_index(
        op.f("ix_responses_agent_survey_id_response_id"),
        "responses",
        ["agent", "survey_id", "response_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_responses_answer_time_survey_id_response_id"),
        "responses",
        ["answer_time", "survey_id", "response_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_responses_contact_answer_time_survey_id_response_id"),
        "responses",
        ["contact", "answer_time", "survey_id", "response_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_responses_create_time_survey_id_response_id"),
        "responses",
        ["create_time", "survey_id", "response_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_responses_language_code_survey_id_response_id"),
        "responses",
        ["language_code", "survey_id", "response_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_responses_order_name_survey_id_response_id"),
        "responses",
        ["order_name", "survey_id", "response_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_responses_score_survey_id_response_id"),
        "responses",
        ["score", "survey_id", "response_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_responses_survey_id_answer_time_response_id_score"),
        "responses",
        ["survey_id", "answer_time", "response_id", "score"],
        unique=False,
    )
    op.create_index(
        op.f("ix_responses_survey_id_create_time_response_id"),
        "responses",
        ["survey_id", "create_time", "response_id"],
        unique=False,
    )
    op.create_table(
        "survey_labels",
        sa.Column("survey_id", Text, nullable=False),
        sa.Column("key", Text, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["survey_id"], ["surveys.survey_id"], name=op.f("fk_survey_labels_survey_id")
        ),
        sa.PrimaryKeyConstraint("survey_id", "key", name=op.f("pk_survey_labels")),
    )
    op.create_index(
        op.f("ix_survey_labels_key_value_survey_id"),
        "survey_labels",
        ["key", "value", "survey_id"],
        unique=False,
    )
    op.create_table(
        "response_labels",
        sa.Column("survey_id", Text, nullable=False),
        sa.Column("response_id", Text, nullable=False),
        sa.Column("key", Text, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["survey_id", "response_id"],
            ["responses.survey_id", "responses.response_id"],
            name=op.f("fk_response_labels_survey_id_response_id"),
        ),
        sa.PrimaryKeyConstraint("survey_id", "response_id", "key", name=op.f("pk_response_labels")),
    )
    op.create_index(
        op.f("ix_response_labels_key_value_survey_id_response_id"),
        "response_labels",
        ["key", "value", "survey_id", "response_id"],
        unique=False,
    )
