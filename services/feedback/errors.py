"""The refusals of the feedback service."""

from collections.abc import Sequence
from typing import ClassVar

import grpc
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from services.chassis.errors import Refusal
from services.feedback.rules.scores import Scale
from vafa.feedback.v1 import error_reason_pb2

INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


class FeedbackRefusal(Refusal):
    """A refusal with a reason of this service."""

    reasons: ClassVar[EnumTypeWrapper] = error_reason_pb2.ErrorReason  # type: ignore[assignment]


class SurveyPublished(FeedbackRefusal):
    """What the survey asks would change though it is no draft any more."""

    code, reason = PRECONDITION, "SURVEY_PUBLISHED"

    def __init__(self, survey: str, fields: Sequence[str]) -> None:
        text = "cannot change once the survey is published"
        violations = [(field, text) for field in fields]
        super().__init__(f"{fields[0]} {text}", violations=violations, resource=survey)


class SurveyStateRefusal(FeedbackRefusal):
    """A refusal for what the survey is."""

    said: ClassVar[str]

    def __init__(self, survey: str) -> None:
        super().__init__(f"{survey} {self.said}", resource=survey)


class SurveyNotPublished(SurveyStateRefusal):
    """The survey is still a draft."""

    code, reason = PRECONDITION, "SURVEY_NOT_PUBLISHED"
    said = "is a draft"


class SurveyClosed(SurveyStateRefusal):
    """The survey takes no more answers."""

    code, reason = PRECONDITION, "SURVEY_CLOSED"
    said = "is closed"


class SurveyNotScored(SurveyStateRefusal):
    """An open question has no score."""

    code, reason = PRECONDITION, "SURVEY_NOT_SCORED"
    said = "asks an open question, which has no score"


class ScoreInvalid(FeedbackRefusal):
    """The score is not one of the survey's scale."""

    code, reason = INVALID, "SCORE_INVALID"

    def __init__(self, scale: Scale | None) -> None:
        if scale is None:
            text, bounds = "an open question has none", {}
        else:
            text = f"must be from {scale.lowest} to {scale.highest}"
            bounds = {"lowest": scale.lowest, "highest": scale.highest}
        super().__init__(f"score: {text}", violations=[("score", text)], **bounds)


class CommentMissing(FeedbackRefusal):
    """An open question was answered without words."""

    code, reason = INVALID, "COMMENT_MISSING"

    def __init__(self) -> None:
        text = "an open question is answered in words"
        super().__init__(f"comment: {text}", violations=[("comment", text)])


class TimeInFuture(FeedbackRefusal):
    """The time has not come yet."""

    code, reason = INVALID, "TIME_IN_FUTURE"


class ValueRepeated(FeedbackRefusal):
    """The same language stands twice."""

    code, reason = INVALID, "VALUE_REPEATED"


class PeriodInvalid(FeedbackRefusal):
    """The period ends before it begins, or as it does."""

    code, reason = INVALID, "PERIOD_INVALID"

    def __init__(self) -> None:
        text = "is not after the start_time"
        super().__init__(f"end_time {text}", violations=[("end_time", text)])
