"""Serves responses: each recorded once, and what they come to."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from services.chassis.call import Call
from services.chassis.codecs import time_of
from services.chassis.errors import Refusal
from services.chassis.pages import filter_condition
from services.chassis.preparing import Draft
from services.chassis.rows import lock_name
from services.chassis.standard import Standard, Std
from services.chassis.steps import get, insert
from services.chassis.transaction import Transaction
from services.feedback import errors, queries
from services.feedback.checks import check_period, check_response
from services.feedback.resources import RESPONSE, SURVEY
from services.feedback.rules import scores
from vafa.feedback.v1 import responses_pb2, surveys_pb2

Survey = surveys_pb2.Survey
# How each kind of survey that has scores is measured.
MEASURES: Mapping[int, scores.Measure] = {
    Survey.KIND_NPS: scores.NPS,
    Survey.KIND_CSAT: scores.CSAT,
    Survey.KIND_CES: scores.CES,
}


class Responses(Standard):
    """Serves vafa.feedback.v1.ResponseService: added to and never changed."""

    resource = RESPONSE
    methods = frozenset({Std.GET, Std.LIST})

    async def CreateResponse(
        self, request: responses_pb2.CreateResponseRequest, call: Call
    ) -> responses_pb2.Response:
        """Record a response."""
        return await self.database.write(call, lambda t: _record(t, request))

    async def GetMetric(
        self, request: responses_pb2.GetMetricRequest, _call: Call
    ) -> responses_pb2.Metric:
        """Measure a survey."""
        name = request.name.removesuffix("/metric")
        start, end = time_of(request, "start_time"), time_of(request, "end_time")
        check_period(start, end)
        condition = filter_condition(RESPONSE, request.filter)

        def work(connection: Connection) -> responses_pb2.Metric:
            survey = get(connection, SURVEY, name)
            if survey["kind"] not in MEASURES:
                raise errors.SurveyNotScored(name)
            survey_id = survey["survey_id"]
            counts = queries.count_scores(connection, survey_id, start, end, condition)
            return _metric(request, survey["kind"], counts)

        return await self.database.read(work)

    async def SummarizeScores(
        self, request: responses_pb2.SummarizeScoresRequest, _call: Call
    ) -> responses_pb2.ScoreSummary:
        """Sum up the scores that a contact gave."""
        found = await self.database.read(lambda c: queries.scores_of_contact(c, request.contact))
        return responses_pb2.ScoreSummary(
            contact=request.contact,
            responses_count=sum(row.responses_count for row in found),
            scores=[_kind_score(row) for row in found if row.kind in MEASURES],
        )


def _record(
    transaction: Transaction, request: responses_pb2.CreateResponseRequest
) -> responses_pb2.Response:
    # With those who answer too; who closes the survey waits for all of them.
    lock_name(transaction.connection, request.parent, shared=True)
    survey = get(transaction.connection, SURVEY, request.parent)
    if survey["state"] == Survey.STATE_DRAFT:
        raise errors.SurveyNotPublished(request.parent)
    if survey["state"] == Survey.STATE_CLOSED:
        raise errors.SurveyClosed(request.parent)
    scale = MEASURES[survey["kind"]].scale if survey["kind"] in MEASURES else None
    path = "response."
    try:
        response = check_response(request.response, scale, transaction.now)
    except Refusal as refusal:
        raise refusal.under(path) from None
    related = {"survey": request.parent}
    if response.contact:
        related["contact"] = response.contact
    parent = (survey["survey_id"],)
    draft = Draft(response, path, parent=parent, id=request.response_id, related=related)
    return insert(transaction, RESPONSE, [draft])[0]


def _metric(
    request: responses_pb2.GetMetricRequest, kind: Any, counts: Mapping[int, int]
) -> responses_pb2.Metric:
    measure, responses_count = MEASURES[kind], sum(counts.values())
    metric = responses_pb2.Metric(
        name=request.name,
        kind=kind,
        responses_count=responses_count,
        minimum_responses_count=measure.minimum_responses_count,
        sufficient=responses_count >= measure.minimum_responses_count,
        score_counts=counts,
    )
    if responses_count:
        estimate = measure.estimate(counts)
        metric.value, metric.mean_score = estimate.value, scores.mean_score(counts)
        if estimate.low is not None and estimate.high is not None:
            metric.low, metric.high = estimate.low, estimate.high
    for bound in ("start_time", "end_time"):
        if request.HasField(bound):
            getattr(metric, bound).CopyFrom(getattr(request, bound))
    return metric


def _kind_score(row: Any) -> responses_pb2.KindScore:
    score = responses_pb2.KindScore(
        kind=row.kind,
        scores_count=row.responses_count,
        latest_score=row.score,
        latest_response=RESPONSE.pattern.format([row.survey_id, row.response_id]),
    )
    score.latest_answer_time.FromDatetime(row.answer_time)
    return score
