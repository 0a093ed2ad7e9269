"""How a server guards its door, and what it traces."""

import json
import signal
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.harness.alone import GET_CONTACT, ContactsAlone, create, get_by
from tests.harness.ports import free_port
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2

GetContact = contacts_pb2.GetContactRequest


class TestDoor:
    """What the transport and the access of a service let in."""

    def test_a_connection_that_never_says_hello_is_closed(self, steady: ContactsAlone) -> None:
        host, port = steady.addresses["contacts"].split(":")
        began_at = time.monotonic()
        with (
            socket.create_connection((host, int(port)), timeout=12) as silent,
            socket.create_connection((host, int(port)), timeout=12) as half_said,
        ):
            half_said.sendall(b"PRI * HTTP/2.0\r\n")
            for connection in (silent, half_said):
                while connection.recv(4096):
                    pass
        assert 4 < time.monotonic() - began_at < 9

    def test_a_message_above_the_limit_is_refused(self, steady: ContactsAlone) -> None:
        with grpc.insecure_channel(
            steady.addresses["contacts"], [("grpc.max_send_message_length", -1)]
        ) as channel:
            method = channel.unary_unary(
                GET_CONTACT, GetContact.SerializeToString, GetContact.FromString
            )
            codes = [
                method.future(
                    GetContact(name="x" * size),
                    timeout=10,
                    metadata=(("authorization", f"Bearer {steady.token()}"),),
                ).code()
                for size in (3 * 1024 * 1024, 4 * 1024 * 1024 + 1)
            ]
        assert codes == [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED]

    def test_metadata_above_the_limit_is_refused(self, steady: ContactsAlone) -> None:
        address, token = steady.addresses["contacts"], steady.token()
        assert get_by(address, token, (("x-note", "x" * 4000),)) is grpc.StatusCode.NOT_FOUND
        much = (("x-note", "x" * 64 * 1024),)
        assert get_by(address, token, much) is grpc.StatusCode.RESOURCE_EXHAUSTED

    def test_reflection_lists_the_services(self, steady: ContactsAlone) -> None:
        with grpc.insecure_channel(steady.addresses["contacts"]) as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            [answer] = stub.ServerReflectionInfo(iter([asked]), timeout=5)
        assert {service.name for service in answer.list_services_response.service} == {
            "vafa.contacts.v1.ContactService",
            "vafa.contacts.v1.InteractionService",
            "vafa.events.v1.EventService",
            "google.longrunning.Operations",
            "grpc.reflection.v1alpha.ServerReflection",
        }

    def test_reflection_can_be_turned_off(self, alone: ContactsAlone) -> None:
        alone.start("contacts", reflection="false")
        with grpc.insecure_channel(alone.addresses["contacts"]) as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            with pytest.raises(grpc.RpcError) as refused:
                list(stub.ServerReflectionInfo(iter([asked]), timeout=5))
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

    def test_each_service_has_a_health_of_its_own(self, steady: ContactsAlone) -> None:
        for name in ("", "readiness", "liveness", "vafa.contacts.v1.ContactService"):
            assert steady.is_ready("contacts", name)
        with grpc.insecure_channel(steady.addresses["contacts"]) as channel:
            request = health_pb2.HealthCheckRequest(service="somebody.else")
            with pytest.raises(grpc.RpcError) as refused:
                health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND

    def test_a_token_lets_in(self, steady: ContactsAlone) -> None:
        code = get_by(steady.addresses["contacts"], forged(steady.folder))
        assert code is grpc.StatusCode.NOT_FOUND

    @pytest.mark.parametrize(
        "changed",
        [
            {"exp": -60},
            {"nbf": 120},
            {"exp": None},
            {"iss": "somebody"},
            {"aud": "another"},
            {"header": {"kid": "another"}},
            {"header": {"jku": "https://evil.example/keys"}},
            {"header": {"x5u": "https://evil.example/keys"}},
            {"algorithm": "none"},
            {"algorithm": "HS256"},
        ],
        ids=str,
    )
    def test_a_bad_token_does_not(self, steady: ContactsAlone, changed: dict[str, Any]) -> None:
        code = get_by(steady.addresses["contacts"], forged(steady.folder, **changed))
        assert code is grpc.StatusCode.UNAUTHENTICATED

    @pytest.mark.parametrize("token", ["", "a.b.c", "x" * 9000, "W1tbW1tb" * 900 + ".e30.AA"])
    def test_what_is_no_token_does_not(self, steady: ContactsAlone, token: str) -> None:
        code = get_by(steady.addresses["contacts"], token)
        assert code is grpc.StatusCode.UNAUTHENTICATED

    def test_a_token_of_a_megabyte_is_not_even_read(self, steady: ContactsAlone) -> None:
        code = get_by(steady.addresses["contacts"], "x" * 1_000_000)
        assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAUTHENTICATED)
        assert steady.is_ready("contacts")

    def test_two_tokens_are_none(self, steady: ContactsAlone) -> None:
        token = steady.token()
        twice = (("authorization", f"Bearer {token}"),)
        code = get_by(steady.addresses["contacts"], token, twice)
        assert code is grpc.StatusCode.UNAUTHENTICATED


def forged(
    folder: Path,
    *,
    algorithm: str = "EdDSA",
    header: Mapping[str, str] | None = None,
    **changed: Any,
) -> str:
    """Return a good token of the suite in folder but for what is given: times in seconds from
    now, None for a claim that is left out.
    """
    jwk = json.loads((folder / "keys" / "jwks.json").read_bytes())["keys"][0]
    times = {"iat": 0, "nbf": 0, "exp": 300}
    stated: dict[str, Any] = {
        "iss": "vafa-local",
        "aud": "vafa",
        "sub": "ada",
        "roles": ["admin"],
        **times,
    }
    claims = {name: value for name, value in (stated | changed).items() if value is not None}
    claims |= {name: int(time.time()) + claims[name] for name in times if name in claims}
    secret: Any = {
        "EdDSA": load_pem_private_key((folder / "keys" / "signing.pem").read_bytes(), None),
        # The public key, which everybody knows.
        "HS256": jwk["x"],
        "none": None,
    }[algorithm]
    headers = {"kid": jwk["kid"], **(header or {})}
    return jwt.encode(claims, secret, algorithm=algorithm, headers=headers)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans, as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.service_names: set[str] = set()

    def Export(  # noqa: N802
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Keep the spans."""
        for resource in request.resource_spans:
            self.service_names |= {
                each.value.string_value
                for each in resource.resource.attributes
                if each.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    """A collector that runs, and its endpoint."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]
        collector, server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield collector, f"http://127.0.0.1:{port}"
    server.stop(None).wait()


class TestTraces:
    """Spans go to a collector, and a collector that is away is no trouble."""

    def test_a_call_is_a_span_under_that_of_its_caller(
        self,
        alone: ContactsAlone,
        collector: tuple[Collector, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        taken, endpoint = collector
        alone.start("contacts", otlp_endpoint=endpoint)
        trace_id, span_id = uuid.uuid4().hex, uuid.uuid4().hex[:16]
        parent = (("traceparent", f"00-{trace_id}-{span_id}-01"),)
        code = get_by(alone.addresses["contacts"], alone.token(), parent)
        assert code is grpc.StatusCode.NOT_FOUND
        until(lambda: bool(taken.spans))
        [span] = taken.spans
        assert span.name == "vafa.contacts.v1.ContactService/GetContact"
        assert span.kind == Span.SPAN_KIND_SERVER
        assert span.trace_id.hex() == trace_id
        assert span.parent_span_id.hex() == span_id
        assert taken.service_names == {"vafa-contacts"}

    def test_a_collector_that_is_away_neither_slows_calls_nor_the_stop(
        self, alone: ContactsAlone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        alone.start("contacts", otlp_endpoint=f"http://127.0.0.1:{free_port()}")
        with alone.client() as client:
            create(client)
            began_at = time.monotonic()
            for _ in range(100):
                create(client)
            assert time.monotonic() - began_at < 5
        began_at = time.monotonic()
        alone.signal("contacts", signal.SIGTERM)
        assert alone.exit_code() == 0
        assert time.monotonic() - began_at < 6
