"""What tests of loyalty and feedback begin with, made through the API."""

from google.type import money_pb2

import vafa
from vafa.feedback.v1 import responses_pb2, surveys_pb2
from vafa.loyalty.v1 import programs_pb2


def euros(units: int, cents: int = 0, currency_code: str = "EUR") -> money_pb2.Money:
    """Return an amount of money."""
    return money_pb2.Money(currency_code=currency_code, units=units, nanos=cents * 10_000_000)


def a_program(client: vafa.Suite, rate: programs_pb2.EarnRate | None = None) -> str:
    """Create a programme that counts in euros, without a rate unless given; return its name."""
    program = programs_pb2.Program(display_name="Club", currency_code="EUR", earn_rate=rate)
    request = programs_pb2.CreateProgramRequest(program=program)
    return client.programs.CreateProgram(request).name


def an_earning_program(client: vafa.Suite) -> str:
    """Create a programme that gives a point for a euro; return its name."""
    return a_program(client, programs_pb2.EarnRate(points=1, per_amount=euros(1)))


def a_survey(
    client: vafa.Suite,
    kind: surveys_pb2.Survey.Kind.ValueType = surveys_pb2.Survey.KIND_NPS,
    *,
    touchpoint: str = "",
) -> surveys_pb2.Survey:
    """Create a draft that asks in Persian and in English."""
    survey = surveys_pb2.Survey(
        display_name="Club",
        kind=kind,
        questions=[
            surveys_pb2.LocalizedText(language_code="fa", text="نظر شما چیست؟"),
            surveys_pb2.LocalizedText(language_code="en", text="What do you think?"),
        ],
        touchpoint=touchpoint,
    )
    return client.surveys.CreateSurvey(surveys_pb2.CreateSurveyRequest(survey=survey))


def a_published_survey(
    client: vafa.Suite, kind: surveys_pb2.Survey.Kind.ValueType = surveys_pb2.Survey.KIND_NPS
) -> str:
    """Create a survey that can be answered; return its name."""
    name = a_survey(client, kind).name
    return client.surveys.PublishSurvey(surveys_pb2.PublishSurveyRequest(name=name)).name


def answer(
    client: vafa.Suite, survey: str, response: responses_pb2.Response
) -> responses_pb2.Response:
    """Record a response to a survey."""
    request = responses_pb2.CreateResponseRequest(parent=survey, response=response)
    return client.responses.CreateResponse(request)
