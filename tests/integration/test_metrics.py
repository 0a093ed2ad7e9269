"""What the services tell Prometheus, scraped as Prometheus does."""

import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

import vafa
from services.chassis.contract import SERVICES
from tests.contract.resources import SERVED
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2
from vafa.gateway.v1 import customers_pb2

Labels = frozenset[tuple[str, str]]
Series = Mapping[tuple[str, Labels], float]
CODES = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
]
PER_METHOD = (
    "grpc_server_started_total",
    "grpc_server_msg_received_total",
    "grpc_server_msg_sent_total",
    "grpc_server_handling_seconds_count",
    "grpc_server_handling_seconds_sum",
)
CONTACT_SERVICE = {
    "grpc_type": "unary",
    "grpc_service": "vafa.contacts.v1.ContactService",
}


def page_of(suite: RunningSuite, service: str) -> str:
    """Return the metrics page of a service."""
    url = f"http://{suite.metrics_addresses[service]}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def scrape(suite: RunningSuite, service: str) -> Series:
    """Return all series of a service."""
    families = text_string_to_metric_families(page_of(suite, service))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    """Return the value of a series that must be there."""
    return series[name, frozenset(labels.items())]


def create(client: vafa.Suite, request_id: str = "") -> contacts_pb2.Contact:
    """Create a contact."""
    contact = contacts_pb2.Contact(display_name="Ada")
    request = contacts_pb2.CreateContactRequest(contact=contact, request_id=request_id)
    return client.contacts.CreateContact(request)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """A suite that nobody has called."""
    suite = RunningSuite(tmp_path_factory.mktemp("metrics"))
    suite.start()
    yield suite
    suite.stop()


@pytest.mark.parametrize("service", ["contacts", "feedback", "gateway"])
def test_every_series_of_every_method_begins_at_zero(fresh: RunningSuite, service: str) -> None:
    series = scrape(fresh, service)
    for method in SERVED[service]:
        # Loyalty follows the feed of contacts by itself.
        if method.name in ("StreamEvents", "ListEvents"):
            continue
        labels = {
            "grpc_type": "unary",
            "grpc_service": method.service,
            "grpc_method": method.name,
        }
        for name in PER_METHOD:
            assert value(series, name, **labels) == 0
        for code in CODES:
            assert value(series, "grpc_server_handled_total", **labels, grpc_code=code) == 0


@pytest.mark.parametrize("service", SERVICES)
def test_no_method_lacks_a_series_and_no_other_code_is_told(
    fresh: RunningSuite, service: str
) -> None:
    told: dict[tuple[str, str], set[str]] = {}
    for name, labels in scrape(fresh, service):
        if name == "grpc_server_handled_total":
            each = dict(labels)
            key = (each["grpc_service"], each["grpc_method"])
            told.setdefault(key, set()).add(each["grpc_code"])
    expected = {(method.service, method.name): set(CODES) for method in SERVED[service]}
    assert told == expected


def test_a_stream_is_told_as_one(fresh: RunningSuite) -> None:
    labels = {
        "grpc_type": "server_stream",
        "grpc_service": "vafa.events.v1.EventService",
        "grpc_method": "StreamEvents",
    }
    before = scrape(fresh, "contacts")
    with fresh.client() as client:
        create(client)
        call = client.events("contacts").StreamEvents(
            events_pb2.StreamEventsRequest(parent="feeds/contacts")
        )
        assert next(iter(call)).events
        call.cancel()

    def counted() -> bool:
        after = scrape(fresh, "contacts")
        canceled = {**labels, "grpc_code": "Canceled"}
        return all(
            value(after, name, **more) > value(before, name, **more)
            for name, more in (
                ("grpc_server_started_total", labels),
                ("grpc_server_msg_received_total", labels),
                ("grpc_server_msg_sent_total", labels),
                ("grpc_server_handled_total", canceled),
            )
        )

    until(counted)


def raw(content: bytes) -> bytes:
    """Leave bytes as they are."""
    return content


def ok(client: vafa.Suite) -> None:
    """Make a call that succeeds."""
    client.contacts.ListContacts(contacts_pb2.ListContactsRequest())


def invalid(client: vafa.Suite) -> None:
    """Make a call that is wrong."""
    client.contacts.ListContacts(contacts_pb2.ListContactsRequest(filter="?"))


def without_token(client: vafa.Suite) -> None:
    """Make a call that nobody answers for."""
    metadata = (("authorization", "Bearer nothing"),)
    client.contacts.ListContacts(contacts_pb2.ListContactsRequest(), metadata=metadata)


@pytest.mark.parametrize(
    ("call", "code", "received", "sent"),
    [
        (ok, "OK", 1, 1),
        (invalid, "InvalidArgument", 1, 0),
        (without_token, "Unauthenticated", 0, 0),
    ],
)
def test_a_call_is_counted_once_under_its_code(
    suite: RunningSuite, call: Callable[[vafa.Suite], None], code: str, received: int, sent: int
) -> None:
    labels = CONTACT_SERVICE | {"grpc_method": "ListContacts"}
    before = scrape(suite, "contacts")
    with suite.client() as client, nullcontext() if code == "OK" else pytest.raises(vafa.VafaError):
        call(client)

    def handled(series: Series) -> dict[str, float]:
        name = "grpc_server_handled_total"
        return {each: value(series, name, **labels, grpc_code=each) for each in CODES}

    after = scrape(suite, "contacts")
    rose = {each: n - handled(before)[each] for each, n in handled(after).items()}
    assert rose == {each: float(each == code) for each in CODES}
    for name, by in (
        ("grpc_server_started_total", 1),
        ("grpc_server_handling_seconds_count", 1),
        ("grpc_server_msg_received_total", received),
        ("grpc_server_msg_sent_total", sent),
    ):
        assert value(after, name, **labels) - value(before, name, **labels) == by


def test_the_time_of_a_call_falls_into_one_bucket(suite: RunningSuite) -> None:
    with suite.client() as client:
        ok(client)
    series = scrape(suite, "contacts")
    labels = CONTACT_SERVICE | {"grpc_method": "ListContacts"}
    buckets = {
        float(dict(each)["le"]): n
        for (name, each), n in series.items()
        if name == "grpc_server_handling_seconds_bucket" and labels.items() <= dict(each).items()
    }
    counts = [buckets[bound] for bound in sorted(buckets)]
    assert counts == sorted(counts)
    assert counts[-1] == value(series, "grpc_server_handling_seconds_count", **labels)
    assert {0.005, 0.1, 1.0, float("inf")} <= buckets.keys()


def test_methods_that_are_not_there_have_one_series(suite: RunningSuite) -> None:
    labels = {"grpc_type": "unary", "grpc_service": "unknown", "grpc_method": "unknown"}
    made_up = f"m{uuid.uuid4().hex}"

    def count(series: Series) -> float:
        key = (
            "grpc_server_handled_total",
            frozenset({**labels, "grpc_code": "Unimplemented"}.items()),
        )
        return series.get(key, 0)

    before = count(scrape(suite, "contacts"))
    with grpc.insecure_channel(suite.addresses["contacts"]) as channel:
        for path in (
            f"/{made_up}/A",
            f"/{made_up}/B",
            f"/vafa.contacts.v1.ContactService/{made_up}",
        ):
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(path, raw, raw)(b"", timeout=5)
    assert count(scrape(suite, "contacts")) == before + 3
    assert made_up not in page_of(suite, "contacts")


def test_a_repeat_that_gets_the_first_answer_is_a_hit(suite: RunningSuite) -> None:
    before = value(scrape(suite, "contacts"), "idempotency_hits_total")
    request_id = str(uuid.uuid4())
    with suite.client() as client:
        first, again = create(client, request_id), create(client, request_id)
    assert first == again
    assert value(scrape(suite, "contacts"), "idempotency_hits_total") == before + 1


def test_an_event_is_told_as_published(suite: RunningSuite) -> None:
    def published() -> float:
        return value(scrape(suite, "contacts"), "outbox_published_total")

    before = published()
    with suite.client() as client:
        create(client)
    until(lambda: published() > before)


def test_the_head_of_the_feed_is_told_and_what_is_pending(fresh: RunningSuite) -> None:
    before = value(scrape(fresh, "contacts"), "feed_head_position")
    with fresh.client() as client:
        create(client)
    until(lambda: value(scrape(fresh, "contacts"), "feed_head_position") > before)
    until(lambda: value(scrape(fresh, "contacts"), "outbox_pending") == 0)


def test_a_consumer_tells_what_it_applied_and_how_far_it_is_behind(suite: RunningSuite) -> None:
    labels = {"source": "feeds/contacts", "event_type": "contact.created"}

    def applied() -> float:
        key = ("consumer_applied_total", frozenset(labels.items()))
        return scrape(suite, "loyalty").get(key, 0)

    before = applied()
    with suite.client() as client:
        create(client)
    until(lambda: applied() > before)
    lag = {"source": "feeds/contacts"}
    until(lambda: value(scrape(suite, "loyalty"), "consumer_lag_events", **lag) == 0)
    parked = value(scrape(suite, "loyalty"), "consumer_parked_events", **lag)
    assert parked >= 0


def test_the_lanes_of_the_database_tell_their_size_and_their_wait(suite: RunningSuite) -> None:
    before = scrape(suite, "contacts")
    with suite.client() as client:
        create(client)
        ok(client)
    after = scrape(suite, "contacts")
    for lane in ("read", "write"):
        assert value(after, "db_pool_size", lane=lane) >= 1
        waits = "db_pool_wait_seconds_count"
        assert value(after, waits, lane=lane) > value(before, waits, lane=lane)
        assert value(after, "db_pool_waiting", lane=lane) >= 0
        size = value(after, "db_pool_size", lane=lane)
        assert 0 <= value(after, "db_pool_in_use", lane=lane) <= size


def test_no_label_holds_a_resource(suite: RunningSuite) -> None:
    with suite.client() as client:
        contact = create(client)
        client.contacts.GetContact(contacts_pb2.GetContactRequest(name=contact.name))
        with pytest.raises(vafa.NotFound):
            client.contacts.GetContact(contacts_pb2.GetContactRequest(name="contacts/nobody-here"))
        client.customers.GetCustomer(
            customers_pb2.GetCustomerRequest(name=f"customers/{contact.name.partition('/')[2]}")
        )
    contact_id = contact.name.partition("/")[2]
    for service in SERVICES:
        page = page_of(suite, service)
        for secret in (contact_id, "nobody-here", contact.uid, "Ada", "tester"):
            assert secret not in page
