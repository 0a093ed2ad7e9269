"""Whom the services let in, called directly: attacks, rotation, outages, and other issuers."""

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from services.chassis.contract import SERVICES
from services.command import keys
from tests.harness.attacks import ATTACKS, Headers, bearer, good_token, token_of_size
from tests.harness.issuers import ForeignIssuer, KeyServer, replace_file
from tests.harness.roles import write_roles
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2
from vafa.feedback.v1 import surveys_pb2
from vafa.gateway.v1 import customers_pb2
from vafa.loyalty.v1 import programs_pb2

# Of each service, one call that anybody with a role of these tests may make.
GET: dict[str, tuple[str, Message]] = {
    "contacts": (
        "/vafa.contacts.v1.ContactService/GetContact",
        contacts_pb2.GetContactRequest(name="contacts/none"),
    ),
    "loyalty": (
        "/vafa.loyalty.v1.ProgramService/GetProgram",
        programs_pb2.GetProgramRequest(name="programs/none"),
    ),
    "feedback": (
        "/vafa.feedback.v1.SurveyService/GetSurvey",
        surveys_pb2.GetSurveyRequest(name="surveys/none"),
    ),
    "gateway": (
        "/vafa.gateway.v1.CustomerService/GetCustomer",
        customers_pb2.GetCustomerRequest(name="customers/none"),
    ),
}
CREATE = "/vafa.contacts.v1.ContactService/CreateContact"
LIST_EVENTS = "/vafa.events.v1.EventService/ListEvents"
ROLES = {
    "admin": ["*"],
    "service": ["contacts.read", "events.read"],
    "reader": ["contacts.read", "programs.read", "surveys.read", "customers.read"],
}
CLUSTER = "https://kubernetes.default.svc.cluster.local"
OK = grpc.StatusCode.OK
NOT_FOUND = grpc.StatusCode.NOT_FOUND
PERMISSION_DENIED = grpc.StatusCode.PERMISSION_DENIED
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


class Trusting:
    """A suite that trusts further issuers: `staff` by a file of keys, `cloud` by an address with
    TLS, which answers nobody until a test starts it, and `cluster` as Kubernetes issues tokens.
    """

    def __init__(self, folder: Path, cluster_server: KeyServer, cloud_server: KeyServer) -> None:
        self.suite = RunningSuite(folder)
        self.folder = folder
        self.staff = ForeignIssuer("https://login.example", "ES256", "crm")
        self.cloud = ForeignIssuer("https://cloud.example", "EdDSA", "vafa")
        self.cluster = ForeignIssuer(CLUSTER, "RS256", "vafa")
        self.cloud_server, self.cluster_server = cloud_server, cluster_server
        cloud_server.stop()
        cluster_server.body = self.cluster.jwks().encode()
        self.staff_keys = replace_file(folder / "staff.json", self.staff.jwks())
        (folder / "cluster-token").write_text("of the pod\n")
        self.roles_file = write_roles(folder / "roles.json", ROLES)
        replace_file(folder / "issuers.json", json.dumps(self._issuers()))
        self.channels: dict[str, grpc.Channel] = {}
        self.suite.start(**self.settings())
        for service in SERVICES:
            self.channels[service] = grpc.insecure_channel(self.suite.addresses[service])

    def settings(self) -> dict[str, str]:
        """Return the settings by which a service trusts these issuers."""
        return {
            "issuers_file": str(self.folder / "issuers.json"),
            "roles_file": str(self.roles_file),
        }

    def _issuers(self) -> dict[str, object]:
        staff = {
            "issuer": self.staff.name,
            "audiences": ["crm"],
            "algorithms": ["ES256"],
            "jwks_file": "staff.json",
            "roles_claim": "groups",
            "subject_prefix": "staff:",
        }
        cloud = {
            "issuer": self.cloud.name,
            "audiences": ["vafa"],
            "algorithms": ["EdDSA"],
            "jwks_url": self.cloud_server.url,
            "ca_file": str(self.cloud_server.ca_file),
            "refresh_seconds": 1,
            "roles_claim": "roles",
        }
        cluster = {
            "issuer": CLUSTER,
            "audiences": ["vafa"],
            "algorithms": ["RS256"],
            "jwks_url": self.cluster_server.url,
            "ca_file": str(self.cluster_server.ca_file),
            "bearer_token_file": "cluster-token",
        }
        return {"version": "of a test", "issuers": [staff, cloud, cluster]}

    def bind(self, subject: str, *roles: str) -> None:
        """Give roles to a subject, in place of all other bindings."""
        write_roles(self.roles_file, ROLES, {subject: roles})

    def call(self, service: str, path: str, request: Message, headers: Headers) -> grpc.StatusCode:
        """Return the code with which a call ends; checks what is said to whom is not known."""
        stub: Any = self.channels[service].unary_unary(
            path, request_serializer=lambda message: message.SerializeToString()
        )
        try:
            stub(request, metadata=headers, timeout=10)
        except grpc.RpcError as error:
            ended: Any = error
            if ended.code() is UNAUTHENTICATED:
                assert ended.details() == "a valid token is needed"
            return ended.code()  # type: ignore[no-any-return]
        return OK

    def get(self, service: str, headers: Headers) -> grpc.StatusCode:
        """Return the code with which the call of GET ends: NOT_FOUND for whoever is let in."""
        return self.call(service, *GET[service], headers)

    def at_all(self, token: str) -> list[grpc.StatusCode]:
        """Return the code of each service."""
        return [self.get(service, bearer(token)) for service in SERVICES]

    def create(self, token: str, request_id: str, display_name: str) -> grpc.StatusCode:
        """Create a contact under a request_id; return how it ends."""
        request = contacts_pb2.CreateContactRequest(
            contact=contacts_pb2.Contact(display_name=display_name), request_id=request_id
        )
        return self.call("contacts", CREATE, request, bearer(token))

    def stop(self) -> None:
        """Stop all."""
        for channel in self.channels.values():
            channel.close()
        self.suite.stop()


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trusting]:
    """The suite of these tests."""
    folder = tmp_path_factory.mktemp("trusting")
    with (
        KeyServer(tmp_path_factory.mktemp("cluster"), tls=True) as cluster_server,
        KeyServer(tmp_path_factory.mktemp("cloud"), tls=True) as cloud_server,
    ):
        started = Trusting(folder, cluster_server, cloud_server)
        yield started
        started.stop()


every_service = pytest.mark.parametrize("service", SERVICES)


@every_service
def test_a_good_token_lets_in(trusting: Trusting, service: str) -> None:
    assert trusting.get(service, bearer(good_token(trusting.folder))) is NOT_FOUND


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_service_lets_in_an_attacker_with(trusting: Trusting, attack: str) -> None:
    headers = ATTACKS[attack](trusting.folder)
    assert {s: trusting.get(s, headers) for s in SERVICES} == dict.fromkeys(
        SERVICES, UNAUTHENTICATED
    )


@every_service
def test_headers_that_name_somebody_add_nothing_to_a_token(
    trusting: Trusting, service: str
) -> None:
    spoofed = ATTACKS["spoofed identity headers"](trusting.folder)
    weak = bearer(good_token(trusting.folder, roles=["nobody"]))
    assert trusting.get(service, (*weak, *spoofed)) is PERMISSION_DENIED


@every_service
def test_a_token_of_a_megabyte_is_refused_and_others_are_served(
    trusting: Trusting, service: str
) -> None:
    with grpc.insecure_channel(trusting.suite.addresses[service]) as own_channel:
        path, request = GET[service]
        stub: Any = own_channel.unary_unary(path)
        headers = bearer(token_of_size(trusting.folder, 1_000_000))
        for _ in range(3):
            with pytest.raises(grpc.RpcError) as refused:
                stub(request.SerializeToString(), metadata=headers, timeout=10)
            ended: Any = refused.value
            # The transport refuses it, before anything of Vafa sees it.
            assert ended.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        good = bearer(good_token(trusting.folder))
        with pytest.raises(grpc.RpcError) as missing:
            stub(request.SerializeToString(), metadata=good, timeout=10)
        ended = missing.value
        assert ended.code() is NOT_FOUND
    assert trusting.get(service, bearer(good_token(trusting.folder))) is NOT_FOUND


def test_an_issuer_signs_for_itself_alone(trusting: Trusting) -> None:
    staff = trusting.staff
    assert trusting.at_all(staff.token(groups=["reader"])) == [NOT_FOUND] * 4
    for token in (
        staff.token(iss="vafa-local", groups=["reader"], roles=["reader"], aud="vafa"),
        staff.token(iss=CLUSTER, aud="vafa"),
        good_token(trusting.folder, iss=staff.name, aud="crm", groups=["reader"]),
        staff.token(groups=["reader"], aud="vafa"),
        staff.token(groups=["reader"], exp=int(time.time()) + 4000),
    ):
        assert trusting.at_all(token) == [UNAUTHENTICATED] * 4


def test_one_name_at_two_issuers_is_two_callers(trusting: Trusting) -> None:
    request_id = str(uuid.uuid4())
    own = good_token(trusting.folder, sub="ada", roles=["admin"])
    staff = trusting.staff.token(sub="ada", groups=["admin"])
    assert trusting.create(own, request_id, "Ada of the suite") is OK
    assert trusting.create(own, request_id, "Ada again") is grpc.StatusCode.INVALID_ARGUMENT
    # What one has written under a request_id stands in no other's way.
    assert trusting.create(staff, request_id, "Ada of the staff") is OK
    posing = good_token(trusting.folder, sub="staff:ada", roles=["admin"])
    assert trusting.create(posing, request_id, "Ada of the staff") is UNAUTHENTICATED


def test_a_service_account_may_do_what_it_is_bound_to(trusting: Trusting) -> None:
    account = "system:serviceaccount:vafa:loyalty"
    claims: dict[str, Any] = {
        "sub": account,
        "aud": ["vafa", CLUSTER],
        "kubernetes.io": {"namespace": "vafa", "serviceaccount": {"name": "loyalty"}},
        # Nobody is an administrator because the cluster says so.
        "roles": ["admin"],
    }
    token = trusting.cluster.token(**claims)
    events = events_pb2.ListEventsRequest(parent="feeds/contacts")
    contact = contacts_pb2.CreateContactRequest(contact=contacts_pb2.Contact(display_name="Ada"))
    trusting.bind(f"{CLUSTER}#{account}", "service")
    until(lambda: trusting.call("contacts", LIST_EVENTS, events, bearer(token)) is OK)
    assert trusting.call("contacts", CREATE, contact, bearer(token)) is PERMISSION_DENIED
    other = trusting.cluster.token(**{**claims, "sub": "system:serviceaccount:vafa:other"})
    assert trusting.at_all(other) == [PERMISSION_DENIED] * 4
    # The name alone, at the suite's own issuer, is not the account.
    posing = good_token(trusting.folder, sub=account, roles=[])
    assert trusting.call("contacts", LIST_EVENTS, events, bearer(posing)) is PERMISSION_DENIED
    assert {one["authorization"] for one in trusting.cluster_server.requests} == {
        "Bearer of the pod"
    }
    trusting.bind("somebody else", "service")
    until(
        lambda: trusting.call("contacts", LIST_EVENTS, events, bearer(token)) is PERMISSION_DENIED
    )


def test_keys_at_an_address_may_come_late_change_and_be_out_of_reach(trusting: Trusting) -> None:
    cloud, server = trusting.cloud, trusting.cloud_server
    # The suite has started without the address.
    assert trusting.at_all(cloud.token(roles=["reader"])) == [UNAUTHENTICATED] * 4
    server.body = cloud.jwks().encode()
    server.start()
    first = cloud.token(roles=["reader"])
    until(lambda: trusting.at_all(first) == [NOT_FOUND] * 4)
    cloud.rotate()
    server.body = cloud.jwks().encode()
    until(lambda: trusting.at_all(first) == [UNAUTHENTICATED] * 4)
    assert trusting.at_all(cloud.token(roles=["reader"])) == [NOT_FOUND] * 4
    before = {service: failed_downloads(trusting, service) for service in SERVICES}
    server.stop()
    until(lambda: all(failed_downloads(trusting, s) > before[s] + 1 for s in SERVICES))
    assert trusting.at_all(cloud.token(roles=["reader"])) == [NOT_FOUND] * 4


def failed_downloads(trusting: Trusting, service: str) -> int:
    """Return how often a service has failed to download the keys of `cloud`."""
    lines = trusting.suite.log(service).splitlines()
    return sum(
        "keys_not_downloaded" in line and trusting.cloud_server.url in line for line in lines
    )


def test_a_key_set_with_one_kid_twice_changes_nothing(trusting: Trusting) -> None:
    staff = trusting.staff
    token, good = staff.token(groups=["reader"]), json.loads(staff.jwks())["keys"]
    old_key = staff.key
    other = ForeignIssuer(staff.name, "ES256", "crm")
    twin = {**json.loads(other.jwks())["keys"][0], "kid": staff.kid}
    replace_file(trusting.staff_keys, json.dumps({"keys": [*good, twin]}))
    staff.key = other.key
    forged = staff.token(groups=["reader"])
    problem = f"two keys have the kid {staff.kid}"

    def noticed() -> bool:
        assert trusting.at_all(forged) == [UNAUTHENTICATED] * 4
        return all(problem in trusting.suite.log(service) for service in SERVICES)

    until(noticed)
    assert trusting.at_all(forged) == [UNAUTHENTICATED] * 4
    assert trusting.at_all(token) == [NOT_FOUND] * 4
    staff.key = old_key
    replace_file(trusting.staff_keys, staff.jwks())


def test_a_key_that_rotation_has_removed_opens_nothing(trusting: Trusting) -> None:
    old = good_token(trusting.folder)
    assert trusting.at_all(old) == [NOT_FOUND] * 4
    for path in (trusting.folder / "keys").glob("*.*"):
        path.unlink()
    keys.ensure_signing_key(trusting.folder)
    until(lambda: trusting.at_all(old) == [UNAUTHENTICATED] * 4)
    assert trusting.at_all(good_token(trusting.folder)) == [NOT_FOUND] * 4


def test_a_service_does_not_start_with_issuers_that_it_cannot_read(trusting: Trusting) -> None:
    settings = {**trusting.settings(), "issuers_file": str(trusting.folder / "nowhere.json")}
    with pytest.raises(AssertionError, match="keys, issuers or roles cannot be read"):
        trusting.suite.start("contacts-2", **settings)
