"""The declared resources of the feedback service."""

from services.chassis import codecs
from services.chassis.filter_sql import Scalar
from services.chassis.finding import Filterable, by_name, scalars
from services.chassis.resource import Resource
from services.feedback import checks
from services.feedback.schema import response_labels, responses, survey_labels, surveys
from vafa.feedback.v1 import responses_pb2, surveys_pb2

SURVEY: Resource[surveys_pb2.Survey] = Resource(
    message=surveys_pb2.Survey,
    table=surveys,
    columns={
        "display_name": codecs.plain(surveys.c.display_name),
        "kind": codecs.plain(surveys.c.kind),
        "questions": codecs.json(surveys.c.questions),
        "touchpoint": codecs.plain(surveys.c.touchpoint),
        "state": codecs.plain(surveys.c.state),
        "publish_time": codecs.time(surveys.c.publish_time),
        "close_time": codecs.time(surveys.c.close_time),
    },
    labels=survey_labels,
    filters={
        **scalars(surveys, "display_name", "kind", "touchpoint", "state"),
        **scalars(surveys, "create_time", "update_time"),
    },
    orders=("create_time", "update_time", "display_name"),
    check=checks.check_survey,
)

RESPONSE: Resource[responses_pb2.Response] = Resource(
    message=responses_pb2.Response,
    table=responses,
    columns={
        "contact": codecs.plain(responses.c.contact),
        "score": codecs.plain(responses.c.score),
        "comment": codecs.plain(responses.c.comment),
        "language_code": codecs.plain(responses.c.language_code),
        "answer_time": codecs.time(responses.c.answer_time),
        "agent": codecs.plain(responses.c.agent),
        "order": codecs.plain(responses.c.order_name),
    },
    parent=SURVEY,
    labels=response_labels,
    filters={
        **by_name(responses_pb2.Response, responses),
        **scalars(responses, "contact", "score", "language_code", "agent"),
        "order": Filterable(Scalar(responses.c.order_name)),
        **scalars(responses, "answer_time", "create_time"),
    },
    orders=("create_time", "answer_time"),
)
