"""The hand-written SQL of the feedback service."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from services.feedback.schema import responses, surveys


def count_scores(
    connection: Connection,
    survey_id: str,
    start: datetime | None,
    end: datetime | None,
    condition: ColumnElement[bool] | None,
) -> dict[int, int]:
    """Return how many responses gave each score, of those answered from start on and before
    end that meet the condition; each of the three may be open.
    """
    query = select(responses.c.score, func.count().label("responses_count"))
    query = query.where(responses.c.survey_id == survey_id, responses.c.score.is_not(None))
    if start is not None:
        query = query.where(responses.c.answer_time >= start)
    if end is not None:
        query = query.where(responses.c.answer_time < end)
    if condition is not None:
        query = query.where(condition)
    found = connection.execute(query.group_by(responses.c.score))
    return {row.score: row.responses_count for row in found}


def scores_of_contact(connection: Connection, contact: str) -> Sequence[Any]:
    """Return a row for each kind of survey that a contact answered, in the order of the kinds:
    kind, responses_count, and of the latest response survey_id, response_id, score, answer_time.
    """
    latest_first = (
        responses.c.answer_time.desc(),
        responses.c.create_time.desc(),
        responses.c.survey_id.desc(),
        responses.c.response_id.desc(),
    )
    kind = surveys.c.kind
    ranked = (
        select(
            kind,
            responses.c.survey_id,
            responses.c.response_id,
            responses.c.score,
            responses.c.answer_time,
            func.count().over(partition_by=kind).label("responses_count"),
            func.row_number().over(partition_by=kind, order_by=latest_first).label("rank"),
        )
        .join(surveys, surveys.c.survey_id == responses.c.survey_id)
        .where(responses.c.contact == contact)
        .subquery()
    )
    query = select(ranked).where(ranked.c.rank == 1).order_by(ranked.c.kind)
    return connection.execute(query).all()
