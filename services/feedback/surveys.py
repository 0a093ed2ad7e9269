"""Serves surveys: drafted, published, answered, and closed in the end."""

from services.chassis.call import Call
from services.chassis.preparing import Draft
from services.chassis.rows import lock_name
from services.chassis.standard import Standard, Std
from services.chassis.steps import change, get, insert, require_etag
from services.chassis.transaction import Transaction
from services.feedback import errors
from services.feedback.resources import SURVEY
from vafa.feedback.v1 import surveys_pb2

Survey = surveys_pb2.Survey


class Surveys(Standard):
    """Serves vafa.feedback.v1.SurveyService."""

    resource = SURVEY
    methods = frozenset({Std.GET, Std.LIST, Std.UPDATE})

    async def CreateSurvey(self, request: surveys_pb2.CreateSurveyRequest, call: Call) -> Survey:
        """Create a draft."""
        columns = {"state": Survey.STATE_DRAFT, "publish_time": None, "close_time": None}
        draft = Draft(request.survey, "survey.", id=request.survey_id, extra=columns)
        return await self.database.write(call, lambda t: insert(t, SURVEY, [draft])[0])

    async def PublishSurvey(self, request: surveys_pb2.PublishSurveyRequest, call: Call) -> Survey:
        """Let a draft be answered."""

        def work(transaction: Transaction) -> Survey:
            row = get(transaction.connection, SURVEY, request.name, lock=True)
            require_etag(SURVEY, row, request.etag)
            if row["state"] == Survey.STATE_CLOSED:
                raise errors.SurveyClosed(request.name)
            if row["state"] == Survey.STATE_PUBLISHED:
                return SURVEY.to_message(row)
            values = {"state": Survey.STATE_PUBLISHED, "publish_time": transaction.now}
            return change(transaction, SURVEY, row, values, "published", [*values])

        return await self.database.write(call, work)

    async def CloseSurvey(self, request: surveys_pb2.CloseSurveyRequest, call: Call) -> Survey:
        """Take no more answers."""

        def work(transaction: Transaction) -> Survey:
            lock_name(transaction.connection, request.name, shared=False)
            row = get(transaction.connection, SURVEY, request.name, lock=True)
            require_etag(SURVEY, row, request.etag)
            if row["state"] == Survey.STATE_DRAFT:
                raise errors.SurveyNotPublished(request.name)
            if row["state"] == Survey.STATE_CLOSED:
                return SURVEY.to_message(row)
            values = {"state": Survey.STATE_CLOSED, "close_time": transaction.now}
            return change(transaction, SURVEY, row, values, "closed", [*values])

        return await self.database.write(call, work)
