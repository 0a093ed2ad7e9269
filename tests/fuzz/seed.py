"""What there is before the edge is called at random, under the ids of schemathesis.toml."""

from google.type import money_pb2

import vafa
from vafa.contacts.v1 import contacts_pb2, interactions_pb2
from vafa.feedback.v1 import responses_pb2, surveys_pb2
from vafa.gateway.v1 import access_pb2
from vafa.loyalty.v1 import ledger_pb2, members_pb2, orders_pb2, programs_pb2


def seed(client: vafa.Suite) -> dict[str, str]:
    """Make one thing of each kind; return the ids that their services chose, by the kind."""
    _contacts(client)
    _feedback(client)
    key = access_pb2.ApiKey(display_name="Shop", roles=["roles/support"])
    client.api_keys.CreateApiKey(access_pb2.CreateApiKeyRequest(api_key=key, api_key_id="shop"))
    return _loyalty(client)


def _contacts(client: vafa.Suite) -> None:
    for id_, name in (("shirin", "شیرین"), ("farhad", "فرهاد")):
        request = contacts_pb2.CreateContactRequest(
            contact=contacts_pb2.Contact(display_name=name), contact_id=id_
        )
        client.contacts.CreateContact(request)
    call = interactions_pb2.Interaction(
        channel=interactions_pb2.Interaction.CHANNEL_PHONE,
        direction=interactions_pb2.Interaction.DIRECTION_INBOUND,
    )
    client.interactions.CreateInteraction(
        interactions_pb2.CreateInteractionRequest(
            parent="contacts/shirin", interaction=call, interaction_id="call"
        )
    )


def _feedback(client: vafa.Suite) -> None:
    for id_ in ("draft", "open"):
        survey = surveys_pb2.Survey(
            display_name="Club",
            kind=surveys_pb2.Survey.KIND_NPS,
            questions=[surveys_pb2.LocalizedText(language_code="fa", text="نظر شما؟")],
        )
        request = surveys_pb2.CreateSurveyRequest(survey=survey, survey_id=id_)
        client.surveys.CreateSurvey(request)
    client.surveys.PublishSurvey(surveys_pb2.PublishSurveyRequest(name="surveys/open"))
    client.responses.CreateResponse(
        responses_pb2.CreateResponseRequest(
            parent="surveys/open",
            response=responses_pb2.Response(contact="contacts/shirin", score=9),
            response_id="answer",
        )
    )


def _loyalty(client: vafa.Suite) -> dict[str, str]:
    program = programs_pb2.Program(display_name="Club", currency_code="IRR")
    client.programs.CreateProgram(
        programs_pb2.CreateProgramRequest(program=program, program_id="club")
    )
    for id_ in ("shirin", "farhad"):
        member = members_pb2.Member(contact=f"contacts/{id_}")
        request = members_pb2.CreateMemberRequest(parent="programs/club", member=member)
        client.members.CreateMember(request)
        name = f"programs/club/members/{id_}"
        award = ledger_pb2.AwardPointsRequest(member=name, points=1000, reason="welcome")
        client.ledger.AwardPoints(award)
    price = money_pb2.Money(currency_code="IRR", units=5_000_000)
    order = orders_pb2.Order(
        external_id="first",
        contact="contacts/shirin",
        lines=[orders_pb2.OrderLine(sku="tea", quantity=1, amount=price)],
    )
    recorded = client.orders.RecordOrder(
        orders_pb2.RecordOrderRequest(parent="programs/club", order=order)
    )
    operation = client.ledger.VerifyLedger(ledger_pb2.VerifyLedgerRequest(parent="programs/club"))
    return {
        "order": recorded.name.rpartition("/")[2],
        "operation": operation.name.removeprefix("operations/"),
    }
