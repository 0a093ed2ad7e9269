"""One request for each RPC of the contract that its service refuses, by the path of the RPC."""

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from google.longrunning import operations_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tests.contract.resources import World, a_contact, an_order
from vafa.contacts.v1 import contacts_pb2, interactions_pb2
from vafa.events.v1 import events_pb2
from vafa.feedback.v1 import responses_pb2, surveys_pb2
from vafa.gateway.v1 import access_pb2, customers_pb2
from vafa.loyalty.v1 import ledger_pb2, members_pb2, orders_pb2, programs_pb2

NOBODY = "contacts/nobody"
ANOTHER = "another's"
SOME_TIME = Timestamp(seconds=int(datetime(2024, 3, 20, tzinfo=UTC).timestamp()))


def _order_in_euros(world: World) -> orders_pb2.Order:
    order = an_order(world.tag)
    order.lines[0].amount.currency_code = "EUR"
    return order


def _member_again(world: World) -> members_pb2.Member:
    return members_pb2.Member(contact=f"contacts/{world.member.rpartition('/')[2]}")


_Make = Callable[[World], Message]
_CONTACTS: Mapping[str, _Make] = {
    "GetContact": lambda w: contacts_pb2.GetContactRequest(name=NOBODY),
    "ListContacts": lambda w: contacts_pb2.ListContactsRequest(filter='display_name = "علی'),
    "CreateContact": lambda w: contacts_pb2.CreateContactRequest(
        contact=contacts_pb2.Contact(
            emails=[contacts_pb2.EmailAddress(address="@")],
            phones=[contacts_pb2.PhoneNumber(number="12")],
        )
    ),
    "UpdateContact": lambda w: contacts_pb2.UpdateContactRequest(
        contact=contacts_pb2.Contact(name=w.contact, display_name="Ada"),
        update_mask=FieldMask(paths=["display_name", "create_time"]),
    ),
    "DeleteContact": lambda w: contacts_pb2.DeleteContactRequest(name=w.contact, etag="stale"),
    "UndeleteContact": lambda w: contacts_pb2.UndeleteContactRequest(name=w.contact),
    "BatchGetContacts": lambda w: contacts_pb2.BatchGetContactsRequest(names=[w.contact, NOBODY]),
    "BatchCreateContacts": lambda w: contacts_pb2.BatchCreateContactsRequest(
        requests=[
            contacts_pb2.CreateContactRequest(contact=a_contact(w.tag)),
            contacts_pb2.CreateContactRequest(contact=a_contact("x"), contact_id="-"),
        ]
    ),
    "UpsertContact": lambda w: contacts_pb2.UpsertContactRequest(
        external_id=contacts_pb2.ExternalId(system="till", value=w.tag),
        contact=contacts_pb2.Contact(
            display_name="Ada", emails=[contacts_pb2.EmailAddress(address="ada at home")]
        ),
    ),
    "BatchUpsertContacts": lambda w: contacts_pb2.BatchUpsertContactsRequest(
        requests=[w.upsert(0), w.upsert(0)]
    ),
    "LookupContact": lambda w: contacts_pb2.LookupContactRequest(
        external_id=contacts_pb2.ExternalId(system="till", value=f"no/body & {w.tag}")
    ),
    "SearchContacts": lambda w: contacts_pb2.SearchContactsRequest(query="علی", page_token=ANOTHER),
}
_INTERACTIONS: Mapping[str, _Make] = {
    "GetInteraction": lambda w: interactions_pb2.GetInteractionRequest(
        name=f"{w.contact}/interactions/nothing"
    ),
    "ListInteractions": lambda w: interactions_pb2.ListInteractionsRequest(
        parent=w.contact, order_by="body desc"
    ),
    "CreateInteraction": lambda w: interactions_pb2.CreateInteractionRequest(
        parent=w.contact, interaction=interactions_pb2.Interaction(subject="no channel")
    ),
}
_PROGRAMS: Mapping[str, _Make] = {
    "GetProgram": lambda w: programs_pb2.GetProgramRequest(name="programs/none"),
    "ListPrograms": lambda w: programs_pb2.ListProgramsRequest(page_size=-1),
    "CreateProgram": lambda w: programs_pb2.CreateProgramRequest(
        program=programs_pb2.Program(display_name="Club", currency_code="XXX")
    ),
    "UpdateProgram": lambda w: programs_pb2.UpdateProgramRequest(
        program=programs_pb2.Program(name=w.program, etag="stale", display_name="Club")
    ),
    "GetProgramSummary": lambda w: programs_pb2.GetProgramSummaryRequest(
        name="programs/none/summary"
    ),
}
_MEMBERS: Mapping[str, _Make] = {
    "GetMember": lambda w: members_pb2.GetMemberRequest(name=f"{w.program}/members/nobody"),
    "ListMembers": lambda w: members_pb2.ListMembersRequest(
        parent=w.program, filter="no_such_field = 1"
    ),
    "CreateMember": lambda w: members_pb2.CreateMemberRequest(
        parent=w.program, member=_member_again(w)
    ),
    "UpdateMember": lambda w: members_pb2.UpdateMemberRequest(
        member=members_pb2.Member(name=w.member, contact=NOBODY)
    ),
}
_ORDERS: Mapping[str, _Make] = {
    "GetOrder": lambda w: orders_pb2.GetOrderRequest(name=f"{w.program}/orders/none"),
    "ListOrders": lambda w: orders_pb2.ListOrdersRequest(parent="programs/none"),
    "RecordOrder": lambda w: orders_pb2.RecordOrderRequest(
        parent=w.program, order=_order_in_euros(w)
    ),
    "BatchRecordOrders": lambda w: orders_pb2.BatchRecordOrdersRequest(
        parent=w.program, orders=[an_order(w.tag), an_order(w.tag)]
    ),
    "SummarizePurchases": lambda w: orders_pb2.SummarizePurchasesRequest(contact="nobody"),
}
_LEDGER: Mapping[str, _Make] = {
    "AwardPoints": lambda w: ledger_pb2.AwardPointsRequest(member=w.member, reason="Birthday!"),
    "BatchAwardPoints": lambda w: ledger_pb2.BatchAwardPointsRequest(
        parent=w.program,
        requests=[
            w.award(),
            ledger_pb2.AwardPointsRequest(
                member=f"{w.program}/members/nobody", points=1, reason="birthday"
            ),
        ],
    ),
    "SpendPoints": lambda w: ledger_pb2.SpendPointsRequest(
        member=w.member, points=9_007_199_254_740, reason="tea"
    ),
    "GetBalance": lambda w: ledger_pb2.GetBalanceRequest(
        name=f"{w.program}/members/nobody/balance"
    ),
    "ListLots": lambda w: ledger_pb2.ListLotsRequest(parent=f"{w.program}/members/nobody"),
    "ListLedgerTransactions": lambda w: ledger_pb2.ListLedgerTransactionsRequest(
        parent=w.member, filter="points > many"
    ),
    "VerifyLedger": lambda w: ledger_pb2.VerifyLedgerRequest(parent="programs/none"),
}
_SURVEYS: Mapping[str, _Make] = {
    "GetSurvey": lambda w: surveys_pb2.GetSurveyRequest(name="surveys/none"),
    "ListSurveys": lambda w: surveys_pb2.ListSurveysRequest(filter="kind = NONSENSE"),
    "CreateSurvey": lambda w: surveys_pb2.CreateSurveyRequest(
        survey=surveys_pb2.Survey(display_name="No question")
    ),
    "UpdateSurvey": lambda w: surveys_pb2.UpdateSurveyRequest(
        survey=surveys_pb2.Survey(name=w.survey, touchpoint="elsewhere")
    ),
    "PublishSurvey": lambda w: surveys_pb2.PublishSurveyRequest(name=w.draft, etag="stale"),
    "CloseSurvey": lambda w: surveys_pb2.CloseSurveyRequest(name=w.draft),
}
_RESPONSES: Mapping[str, _Make] = {
    "GetResponse": lambda w: responses_pb2.GetResponseRequest(name=f"{w.survey}/responses/none"),
    "ListResponses": lambda w: responses_pb2.ListResponsesRequest(
        parent=w.survey, page_token=ANOTHER
    ),
    "CreateResponse": lambda w: responses_pb2.CreateResponseRequest(
        parent=w.survey, response=responses_pb2.Response(score=11)
    ),
    "GetMetric": lambda w: responses_pb2.GetMetricRequest(
        name=f"{w.survey}/metric", start_time=SOME_TIME, end_time=SOME_TIME
    ),
    "SummarizeScores": lambda w: responses_pb2.SummarizeScoresRequest(contact="nobody"),
}
_CUSTOMERS: Mapping[str, _Make] = {
    "GetCustomer": lambda w: customers_pb2.GetCustomerRequest(name="customers/nobody"),
    "ListTimeline": lambda w: customers_pb2.ListTimelineRequest(
        parent=w.contact.replace("contacts/", "customers/"),
        kinds=[customers_pb2.TimelineEntry.KIND_ORDER, customers_pb2.TimelineEntry.KIND_ORDER],
    ),
}
_ACCESS: Mapping[str, _Make] = {
    "GetApiKey": lambda w: access_pb2.GetApiKeyRequest(name="apiKeys/none"),
    "ListApiKeys": lambda w: access_pb2.ListApiKeysRequest(order_by="secret"),
    "CreateApiKey": lambda w: access_pb2.CreateApiKeyRequest(
        api_key=access_pb2.ApiKey(display_name="Till", roles=["roles/nonsense"])
    ),
    "RevokeApiKey": lambda w: access_pb2.RevokeApiKeyRequest(name="apiKeys/none"),
    "ExchangeApiKey": lambda w: access_pb2.ExchangeApiKeyRequest(secret=ANOTHER),
    "GetRole": lambda w: access_pb2.GetRoleRequest(name="roles/nonsense"),
    "ListRoles": lambda w: access_pb2.ListRolesRequest(page_token=ANOTHER),
}
_EVENTS: Mapping[str, _Make] = {
    "ListEvents": lambda w: events_pb2.ListEventsRequest(
        parent="feeds/loyalty", after=events_pb2.Cursor(epoch=str(uuid.uuid4()), position=7)
    ),
    "StreamEvents": lambda w: events_pb2.StreamEventsRequest(
        parent="feeds/loyalty", after=events_pb2.Cursor(epoch=str(uuid.uuid4()), position=7)
    ),
    "ListParkedEvents": lambda w: events_pb2.ListParkedEventsRequest(
        parent="feeds/loyalty", page_size=-1
    ),
    "RedriveEvents": lambda w: events_pb2.RedriveEventsRequest(
        parent="feeds/loyalty", source="feeds/contacts", subject=NOBODY
    ),
}
_OPERATIONS: Mapping[str, _Make] = {
    "GetOperation": lambda w: operations_pb2.GetOperationRequest(name="operations/loyalty-none"),
    "ListOperations": lambda w: operations_pb2.ListOperationsRequest(
        name="operations", filter="done"
    ),
    "CancelOperation": lambda w: operations_pb2.CancelOperationRequest(
        name="operations/loyalty-none"
    ),
}
REFUSED: Mapping[str, _Make] = {
    f"/{service}/{name}": make
    for service, of_service in {
        "vafa.contacts.v1.ContactService": _CONTACTS,
        "vafa.contacts.v1.InteractionService": _INTERACTIONS,
        "vafa.loyalty.v1.ProgramService": _PROGRAMS,
        "vafa.loyalty.v1.MemberService": _MEMBERS,
        "vafa.loyalty.v1.OrderService": _ORDERS,
        "vafa.loyalty.v1.LedgerService": _LEDGER,
        "vafa.feedback.v1.SurveyService": _SURVEYS,
        "vafa.feedback.v1.ResponseService": _RESPONSES,
        "vafa.gateway.v1.CustomerService": _CUSTOMERS,
        "vafa.gateway.v1.AccessService": _ACCESS,
        "vafa.events.v1.EventService": _EVENTS,
        "google.longrunning.Operations": _OPERATIONS,
    }.items()
    for name, make in of_service.items()
}
# It asks for nothing that could be wrong.
NEVER_REFUSED = {"/vafa.gateway.v1.AccessService/GetJsonWebKeySet"}
