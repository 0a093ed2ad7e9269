"""The picture of a customer, also when a service that it is made of does not answer."""

import signal
import time
import uuid
from collections.abc import Iterator

import pytest
from google.type import money_pb2

import vafa
from tests.harness.roles import write_roles
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2, interactions_pb2
from vafa.feedback.v1 import responses_pb2, surveys_pb2
from vafa.gateway.v1 import customers_pb2
from vafa.loyalty.v1 import orders_pb2, programs_pb2

Customer = customers_pb2.Customer
Interaction = interactions_pb2.Interaction
Survey = surveys_pb2.Survey
OF_CONTACTS = {Customer.PART_PROFILE, Customer.PART_INTERACTIONS}
OF_LOYALTY = {Customer.PART_PURCHASES, Customer.PART_POINTS}
OF_FEEDBACK = {Customer.PART_SCORES}
ROLES = {
    "admin": ["*"],
    "service": ["contacts.read", "events.read"],
    "front-desk": ["customers.read", "contacts.read", "interactions.read"],
    "cashier": ["customers.read", "orders.read"],
    "listener": ["customers.read", "responses.read"],
    "caller": ["customers.read", "interactions.read"],
    "stranger": ["contacts.read"],
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """A suite of our own, whose services are stopped, with roles of our own."""
    folder = tmp_path_factory.mktemp("customer")
    suite = RunningSuite(folder)
    write_roles(folder / "roles.json", ROLES)
    start(suite, "contacts", "loyalty", "feedback", "gateway")
    yield suite
    suite.stop()


def start(running: RunningSuite, *names: str) -> None:
    """Start services with the roles of these tests."""
    running.start(*names, roles_file=str(running.folder / "roles.json"))


@pytest.fixture(scope="module")
def contact(running: RunningSuite) -> contacts_pb2.Contact:
    """A contact of whom every service knows something."""
    with running.client() as client:
        ada = contacts_pb2.Contact(display_name="Ada")
        created = client.contacts.CreateContact(contacts_pb2.CreateContactRequest(contact=ada))
        for n in range(7):
            client.interactions.CreateInteraction(
                interactions_pb2.CreateInteractionRequest(
                    parent=created.name,
                    interaction=Interaction(
                        channel=Interaction.CHANNEL_CHAT,
                        direction=Interaction.DIRECTION_INBOUND,
                        subject=f"no {n}",
                    ),
                )
            )
        one = money_pb2.Money(currency_code="EUR", units=1)
        program = client.programs.CreateProgram(
            programs_pb2.CreateProgramRequest(
                program=programs_pb2.Program(
                    display_name="Club",
                    currency_code="EUR",
                    earn_rate=programs_pb2.EarnRate(points=2, per_amount=one),
                )
            )
        )
        for n in range(6):
            order = orders_pb2.Order(
                external_id=str(n),
                contact=created.name,
                lines=[orders_pb2.OrderLine(sku="tea", quantity=1, amount=one)],
            )
            request = orders_pb2.RecordOrderRequest(parent=program.name, order=order)
            client.orders.RecordOrder(request)
        for kind, score in ((Survey.KIND_NPS, 9), (Survey.KIND_CSAT, 2), (Survey.KIND_NPS, 3)):
            answer_survey(client, created.name, kind, score)
    return created


def answer_survey(client: vafa.Suite, contact: str, kind: Survey.Kind.ValueType, score: int) -> str:
    """Publish a survey of a kind and answer it with a score; return the name of the response."""
    question = surveys_pb2.LocalizedText(language_code="en", text="How was it?")
    survey = Survey(display_name="How was it", kind=kind, questions=[question])
    created = client.surveys.CreateSurvey(surveys_pb2.CreateSurveyRequest(survey=survey))
    client.surveys.PublishSurvey(surveys_pb2.PublishSurveyRequest(name=created.name))
    response = responses_pb2.Response(contact=contact, score=score)
    request = responses_pb2.CreateResponseRequest(parent=created.name, response=response)
    return client.responses.CreateResponse(request).name


def picture(client: vafa.Suite, contact: contacts_pb2.Contact) -> customers_pb2.Customer:
    """Return the picture of a contact; fails if it takes longer than its deadline."""
    asked_at = time.monotonic()
    name = contact.name.replace("contacts/", "customers/")
    got = client.customers.GetCustomer(customers_pb2.GetCustomerRequest(name=name))
    assert time.monotonic() - asked_at < 3
    assert got.name == name
    return got


def codes(customer: customers_pb2.Customer) -> dict[int, str]:
    """Return why parts are missing, by part."""
    return {missing.part: missing.code for missing in customer.unavailable_parts}


def require_contacts_parts(customer: customers_pb2.Customer, contact: contacts_pb2.Contact) -> None:
    """Fail unless what contacts knows is there."""
    assert customer.contact == contact
    assert [one.subject for one in customer.recent_interactions] == [
        f"no {n}" for n in (6, 5, 4, 3, 2)
    ]


def require_loyalty_parts(customer: customers_pb2.Customer, contact: contacts_pb2.Contact) -> None:
    """Fail unless what loyalty knows is there."""
    assert customer.purchases.orders_count == 6
    assert customer.purchases.totals == [money_pb2.Money(currency_code="EUR", units=6)]
    assert [one.external_id for one in customer.recent_orders] == ["5", "4", "3", "2", "1"]
    assert [one.contact for one in customer.memberships] == [contact.name]
    assert customer.memberships[0].points_balance == 12


def require_feedback_parts(customer: customers_pb2.Customer, contact: contacts_pb2.Contact) -> None:
    """Fail unless what feedback knows is there."""
    assert customer.scores.contact == contact.name
    assert customer.scores.responses_count == 3
    told = [(one.kind, one.scores_count, one.latest_score) for one in customer.scores.scores]
    assert told == [(Survey.KIND_NPS, 2, 3), (Survey.KIND_CSAT, 1, 2)]


def test_all_parts_come_when_all_services_answer(
    running: RunningSuite, contact: contacts_pb2.Contact
) -> None:
    with running.client() as client:
        customer = picture(client, contact)
    assert not customer.unavailable_parts
    require_contacts_parts(customer, contact)
    require_loyalty_parts(customer, contact)
    require_feedback_parts(customer, contact)


@pytest.mark.parametrize("role", ["admin", "caller"])
def test_an_unknown_contact_is_no_customer(running: RunningSuite, role: str) -> None:
    with running.client(role) as client:
        stranger = contacts_pb2.Contact(name=f"contacts/{uuid.uuid4()}")
        with pytest.raises(vafa.NotFound) as refused:
            picture(client, stranger)
    assert refused.value.reason == "RESOURCE_NOT_FOUND"
    assert refused.value.metadata["resource"] == stranger.name.replace("contacts/", "customers/")


def test_a_caller_sees_no_part_that_the_services_would_not_show_them(
    running: RunningSuite, contact: contacts_pb2.Contact
) -> None:
    with running.client("front-desk") as client:
        customer = picture(client, contact)
    assert codes(customer) == dict.fromkeys(OF_LOYALTY | OF_FEEDBACK, "PERMISSION_DENIED")
    require_contacts_parts(customer, contact)
    assert not customer.HasField("scores")
    assert not customer.HasField("purchases")
    assert not customer.recent_orders
    assert not customer.memberships
    with running.client("cashier") as client:
        customer = picture(client, contact)
    denied = OF_CONTACTS | OF_FEEDBACK | {Customer.PART_POINTS}
    assert codes(customer) == dict.fromkeys(denied, "PERMISSION_DENIED")
    assert customer.purchases.orders_count == 6
    assert not customer.HasField("contact")
    with running.client("listener") as client:
        customer = picture(client, contact)
    assert codes(customer) == dict.fromkeys(OF_CONTACTS | OF_LOYALTY, "PERMISSION_DENIED")
    require_feedback_parts(customer, contact)
    with running.client("stranger") as client, pytest.raises(vafa.PermissionDenied):
        picture(client, contact)


def test_a_stopped_loyalty_is_named_and_comes_back(
    running: RunningSuite, contact: contacts_pb2.Contact
) -> None:
    running.stop("loyalty")
    with running.client() as client:
        customer = picture(client, contact)
        assert codes(customer) == dict.fromkeys(OF_LOYALTY, "UNAVAILABLE")
        require_contacts_parts(customer, contact)
        assert not customer.memberships
        start(running, "loyalty")
        until(lambda: not picture(client, contact).unavailable_parts)
        require_loyalty_parts(picture(client, contact), contact)


def test_a_stopped_contacts_is_named_and_comes_back(
    running: RunningSuite, contact: contacts_pb2.Contact
) -> None:
    running.stop("contacts")
    with running.client() as client:
        customer = picture(client, contact)
        assert codes(customer) == dict.fromkeys(OF_CONTACTS, "UNAVAILABLE")
        require_loyalty_parts(customer, contact)
        assert not customer.HasField("contact")
        start(running, "contacts")
        until(lambda: not picture(client, contact).unavailable_parts)
        require_contacts_parts(picture(client, contact), contact)


def test_a_stopped_feedback_is_named_and_comes_back(
    running: RunningSuite, contact: contacts_pb2.Contact
) -> None:
    running.stop("feedback")
    with running.client() as client:
        customer = picture(client, contact)
        assert codes(customer) == dict.fromkeys(OF_FEEDBACK, "UNAVAILABLE")
        require_contacts_parts(customer, contact)
        require_loyalty_parts(customer, contact)
        assert not customer.HasField("scores")
        start(running, "feedback")
        until(lambda: not picture(client, contact).unavailable_parts)
        require_feedback_parts(picture(client, contact), contact)


def test_a_frozen_loyalty_is_given_up_before_the_deadline_of_the_picture(
    running: RunningSuite, contact: contacts_pb2.Contact
) -> None:
    running.signal("loyalty", signal.SIGSTOP)
    try:
        with running.client() as client:
            customer = picture(client, contact)
    finally:
        running.signal("loyalty", signal.SIGCONT)
    assert codes(customer) == dict.fromkeys(OF_LOYALTY, "DEADLINE_EXCEEDED")
    require_contacts_parts(customer, contact)
    with running.client() as client:
        until(lambda: not picture(client, contact).unavailable_parts)
