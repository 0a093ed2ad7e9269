"""The feedback service: `python -m services.feedback`."""

from services.chassis.server import Furniture, Parts, serve
from services.feedback.responses import Responses
from services.feedback.schema import chassis
from services.feedback.settings import Settings
from services.feedback.surveys import Surveys
from vafa.feedback.v1 import responses_pb2, surveys_pb2


def parts(furniture: Furniture) -> Parts:
    """Return what the service is made of."""
    return Parts(
        servicers={
            surveys_pb2.DESCRIPTOR.services_by_name["SurveyService"]: Surveys(furniture.database),
            responses_pb2.DESCRIPTOR.services_by_name["ResponseService"]: Responses(
                furniture.database
            ),
        }
    )


if __name__ == "__main__":
    serve("feedback", Settings.from_environment(), chassis, parts)
