"""Surveys, responses and periods in their normal form, or a refusal that says why not."""

from datetime import datetime

from services.chassis.given import first_repeated, time_or_now
from services.chassis.resource import value_of
from services.feedback import errors
from services.feedback.rules.scores import Scale
from vafa.feedback.v1 import responses_pb2, surveys_pb2

# What is asked, and where: answers to another question could not be told apart.
ASKED = ("questions", "touchpoint")
Survey = surveys_pb2.Survey
Response = responses_pb2.Response


def check_survey(old: Survey | None, new: Survey, _now: datetime) -> Survey:
    """Return the survey; raises SurveyPublished, ValueRepeated."""
    if old is not None and old.state != Survey.STATE_DRAFT:
        changed = [name for name in ASKED if value_of(new, name) != value_of(old, name)]
        if changed:
            raise errors.SurveyPublished(old.name, changed)
    n = first_repeated(question.language_code for question in new.questions)
    if n is not None:
        path, text = f"questions[{n}].language_code", "stands twice"
        raise errors.ValueRepeated(f"{path} {text}", violations=[(path, text)])
    return new


def check_response(given: Response, scale: Scale | None, now: datetime) -> Response:
    """Return the response with its time; without a scale it answers an open question.

    Raises ScoreInvalid, CommentMissing, TimeInFuture.
    """
    if scale is None:
        if given.HasField("score"):
            raise errors.ScoreInvalid(scale)
        if not _has_words(given.comment):
            raise errors.CommentMissing
    elif not given.HasField("score") or not scale.lowest <= given.score <= scale.highest:
        raise errors.ScoreInvalid(scale)
    response = Response()
    response.CopyFrom(given)
    answered = time_or_now(given, "answer_time", now, errors.TimeInFuture)
    response.answer_time.FromDatetime(answered)
    return response


def check_period(start: datetime | None, end: datetime | None) -> None:
    """Raise PeriodInvalid unless the end comes after the start; either may be open."""
    if start is not None and end is not None and end <= start:
        raise errors.PeriodInvalid


def _has_words(text: str) -> bool:
    """Whether anything can be seen in a text; a half-space, for one, cannot."""
    return any(character.isprintable() and not character.isspace() for character in text)
