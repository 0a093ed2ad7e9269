"""How a server starts, guards its door, outlives its database, and stops."""

import json
import shutil
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
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
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

import vafa
from services.chassis.migrate import migrate
from services.command import keys
from tests.harness.postgres import Postgres, free_port
from tests.harness.roles import write_roles
from tests.harness.suite import RunningSuite
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2

GetContact = contacts_pb2.GetContactRequest
PATH = "/vafa.contacts.v1.ContactService/GetContact"
EXIT_CONFIGURATION = 78


class ContactsAlone(RunningSuite):
    """A contacts service, or replicas of it, of a test's own: it may fail and be stopped."""

    def __init__(self, folder: Path, database_url: str = "") -> None:
        super().__init__(folder, {"contacts": database_url or f"sqlite:///{folder}/contacts.db"})

    def launch(self, name: str = "contacts", **settings: str) -> None:
        """Start a service and do not wait for it."""
        self._start(name, settings)

    def exit_code(self, name: str = "contacts", within_seconds: float = 15) -> int:
        """Wait until a service has ended by itself; return its exit code."""
        return self._processes[name].wait(timeout=within_seconds)

    def is_running(self, name: str = "contacts") -> bool:
        """Whether a service has not ended."""
        return self._processes[name].poll() is None


@contextmanager
def alone_on(database_url: str, folder: Path) -> Iterator[ContactsAlone]:
    """Give a contacts service that is not started, and stop in the end what was started."""
    suite = ContactsAlone(folder, database_url)
    try:
        yield suite
    finally:
        suite.stop()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[ContactsAlone]:
    """A contacts service on SQLite that is not started."""
    with alone_on("", tmp_path) as suite:
        yield suite


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContactsAlone]:
    """A contacts service that runs, for tests that leave it as it is."""
    with alone_on("", tmp_path_factory.mktemp("steady")) as suite:
        suite.start("contacts")
        yield suite


def until(condition: Callable[[], bool], within_seconds: float) -> None:
    """Wait until a condition holds; fails if it does not in time."""
    ends_at = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < ends_at, f"it did not come within {within_seconds} s"
        time.sleep(0.05)


def create(client: vafa.Suite, timeout: float | None = None) -> contacts_pb2.Contact:
    """Create a contact."""
    request = contacts_pb2.CreateContactRequest(contact=contacts_pb2.Contact(display_name="Ada"))
    return client.contacts.CreateContact(request, timeout=timeout)


def log_lines(suite: RunningSuite) -> list[dict[str, Any]]:
    """Return what the service has logged."""
    # The core of gRPC has its own say on standard error, in another form.
    text_lines = suite.log("contacts").split("\n")
    return [json.loads(line) for line in text_lines if line.startswith("{")]


def problems(suite: RunningSuite) -> list[str]:
    """Return what the service said of its settings."""
    return [line["problem"] for line in log_lines(suite) if line["event"] == "configuration"]


def get_by(address: str, token: str, metadata: tuple[tuple[str, str], ...] = ()) -> grpc.StatusCode:
    """Ask for a contact that is not there; return the code of the answer."""
    options = [("grpc.max_metadata_size", 4 * 1024 * 1024)]
    with grpc.insecure_channel(address, options) as channel:
        method = channel.unary_unary(PATH, GetContact.SerializeToString, GetContact.FromString)
        call = method.future(
            GetContact(name="contacts/nobody"),
            timeout=5,
            metadata=(("authorization", f"Bearer {token}"), *metadata),
        )
        return call.code()


class TestStart:
    """What keeps a service from starting is told, and ends it with one code."""

    def test_a_second_server_on_the_same_address_says_so_and_ends(
        self, steady: ContactsAlone, alone: ContactsAlone
    ) -> None:
        address = steady.addresses["contacts"]
        alone.launch(listen=address)
        assert alone.exit_code() == EXIT_CONFIGURATION
        assert problems(alone) == [f"the address {address} is in use or cannot be had"]
        assert steady.is_ready("contacts")

    def test_a_metrics_address_in_use_is_named(
        self, steady: ContactsAlone, alone: ContactsAlone
    ) -> None:
        address = steady.metrics_addresses["contacts"]
        alone.launch(metrics_listen=address)
        assert alone.exit_code() == EXIT_CONFIGURATION
        assert problems(alone) == [f"the address {address} is in use or cannot be had"]

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:99999", "no.such.host.invalid:1"])
    def test_a_metrics_address_that_is_none_is_named(
        self, alone: ContactsAlone, address: str
    ) -> None:
        alone.launch(metrics_listen=address)
        assert alone.exit_code() == EXIT_CONFIGURATION
        assert problems(alone) == [f"the address {address} is in use or cannot be had"]

    def test_a_missing_file_of_keys_is_named(self, alone: ContactsAlone) -> None:
        alone.launch(jwks_file=str(alone.folder / "nowhere.json"))
        assert alone.exit_code() == EXIT_CONFIGURATION
        [problem] = problems(alone)
        assert "keys, issuers or roles cannot be read" in problem
        assert "nowhere.json" in problem

    def test_a_file_with_one_kid_twice_is_refused(self, alone: ContactsAlone) -> None:
        jwks_file = alone.folder / "keys" / "jwks.json"
        entries = json.loads(jwks_file.read_bytes())["keys"]
        jwks_file.write_text(json.dumps({"keys": entries * 2}))
        alone.launch()
        assert alone.exit_code() == EXIT_CONFIGURATION
        [problem] = problems(alone)
        assert f"two keys have the kid {entries[0]['kid']}" in problem

    def test_a_file_without_keys_is_refused(self, alone: ContactsAlone) -> None:
        jwks_file = alone.folder / "keys" / "jwks.json"
        jwks_file.write_text('{"keys": [{"kid": "a", "kty": "none"}]}')
        alone.launch()
        assert alone.exit_code() == EXIT_CONFIGURATION
        assert len(problems(alone)) == 1

    @pytest.mark.parametrize("database", ["sqlite", "postgresql"])
    def test_a_service_waits_for_its_migration_and_then_is_ready(
        self, request: pytest.FixtureRequest, alone: ContactsAlone, database: str
    ) -> None:
        url = f"sqlite:///{alone.folder}/later.db"
        if database == "postgresql":
            url = request.getfixturevalue("postgres").create("server_later")
        alone.launch(database_url=url)
        until(lambda: "waiting_for_migration" in alone.log("contacts"), 10)
        assert not alone.is_ready("contacts")
        assert alone.is_running()
        migrate("contacts", url)
        alone.wait_ready("contacts")
        with alone.client() as client:
            assert create(client).name

    def test_a_service_that_waits_for_its_migration_can_be_stopped(
        self, alone: ContactsAlone
    ) -> None:
        alone.launch(database_url=f"sqlite:///{alone.folder}/never.db")
        until(lambda: "waiting_for_migration" in alone.log("contacts"), 10)
        alone.signal("contacts", signal.SIGTERM)
        assert alone.exit_code(within_seconds=5) == 0

    def test_a_database_of_a_later_program_is_served(self, alone: ContactsAlone) -> None:
        engine = create_engine(alone.database_urls["contacts"], poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = 'm9999'"))
        alone.start("contacts")
        with alone.client() as client:
            assert create(client).name


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
            method = channel.unary_unary(PATH, GetContact.SerializeToString, GetContact.FromString)
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


class TestFilesThatChange:
    """Keys and roles are read anew while the service runs."""

    def test_new_keys_are_taken_and_old_ones_dropped_without_a_restart(
        self, alone: ContactsAlone
    ) -> None:
        alone.start("contacts")
        address, old = alone.addresses["contacts"], alone.token()
        assert get_by(address, old) is grpc.StatusCode.NOT_FOUND
        pid = alone.pid("contacts")
        shutil.rmtree(alone.folder / "keys")
        keys.ensure_signing_key(alone.folder)
        new = alone.token()
        until(lambda: get_by(address, new) is grpc.StatusCode.NOT_FOUND, 2.5)
        assert get_by(address, old) is grpc.StatusCode.UNAUTHENTICATED
        assert alone.is_running()
        assert alone.pid("contacts") == pid

    def test_a_broken_file_of_keys_changes_nothing(self, alone: ContactsAlone) -> None:
        alone.start("contacts")
        address, token = alone.addresses["contacts"], alone.token()
        assert get_by(address, token) is grpc.StatusCode.NOT_FOUND
        jwks_file = alone.folder / "keys" / "jwks.json"
        good = jwks_file.read_bytes()
        entries = json.loads(good)["keys"]
        jwks_file.write_text(json.dumps({"keys": entries * 2}))
        codes: set[grpc.StatusCode] = set()

        def noticed() -> bool:
            codes.add(get_by(address, token))
            return "file_unreadable" in alone.log("contacts")

        until(noticed, 5)
        codes |= {get_by(address, token) for _ in range(3)}
        assert codes == {grpc.StatusCode.NOT_FOUND}

    def test_roles_that_change_hold_at_once(self, alone: ContactsAlone) -> None:
        roles_file = alone.folder / "roles.json"
        write_roles(roles_file, {"clerk": ["contacts.read"]})
        alone.start("contacts", roles_file=str(roles_file))
        address, token = alone.addresses["contacts"], alone.token("clerk")
        assert get_by(address, token) is grpc.StatusCode.NOT_FOUND
        write_roles(roles_file, {"clerk": []})
        until(lambda: get_by(address, token) is grpc.StatusCode.PERMISSION_DENIED, 2.5)


@contextmanager
def writes_held_up(database_url: str) -> Iterator[None]:
    """Keep the contacts of a database locked against all writers."""
    engine = create_engine(database_url, poolclass=NullPool)
    with engine.connect() as connection:
        is_sqlite = engine.dialect.name == "sqlite"
        lock = "BEGIN IMMEDIATE" if is_sqlite else "LOCK TABLE contacts IN EXCLUSIVE MODE"
        connection.exec_driver_sql(lock)
        try:
            yield
        finally:
            connection.rollback()
    engine.dispose()


class TestDeadline:
    """A caller waits as long as the caller says and not longer."""

    def test_a_deadline_shorter_than_the_work_is_kept(self, suite: RunningSuite) -> None:
        with suite.client() as client:
            create(client)
            with writes_held_up(suite.database_urls["contacts"]):
                began_at = time.monotonic()
                with pytest.raises(vafa.DeadlineExceeded):
                    create(client, timeout=0.4)
                assert 0.2 < time.monotonic() - began_at < 0.8
            assert create(client).name

    def test_the_service_itself_says_that_the_deadline_passed(self, suite: RunningSuite) -> None:
        with suite.client() as client:
            create(client)
            # The service answers a little before the caller gives up.
            with (
                writes_held_up(suite.database_urls["contacts"]),
                pytest.raises(vafa.DeadlineExceeded) as refused,
            ):
                create(client, timeout=0.4)
        assert refused.value.reason == "DEADLINE_EXCEEDED"


class TestStop:
    """A service that is stopped loses no call."""

    def test_calls_are_served_while_the_service_drains(self, alone: ContactsAlone) -> None:
        alone.start("contacts", drain_delay_seconds="2", stop_grace_seconds="5")
        with alone.client() as client, ThreadPoolExecutor(1) as thread:
            name = create(client).name
            alone.signal("contacts", signal.SIGTERM)
            until(lambda: not alone.is_ready("contacts"), 0.7)
            assert alone.is_ready("contacts", "liveness")
            assert not alone.is_ready("contacts", "vafa.contacts.v1.ContactService")
            assert client.contacts.GetContact(GetContact(name=name)).name == name
            assert create(client).name
            with writes_held_up(alone.database_urls["contacts"]):
                in_flight = thread.submit(create, client)
                until(lambda: not listens(alone.addresses["contacts"]), 4)
                assert not in_flight.done()
            assert in_flight.result(timeout=5).name
        assert alone.exit_code() == 0
        assert '"event": "stopped"' in alone.log("contacts")

    def test_no_call_fails_while_one_of_two_replicas_is_restarted(
        self, tmp_path: Path, postgres: Postgres
    ) -> None:
        # Longer than a client takes to find a replica that is back.
        settings = {"drain_delay_seconds": "1.5", "stop_grace_seconds": "5"}
        with alone_on(postgres.create("server_replicas"), tmp_path) as suite:
            suite.start("contacts", "contacts-2", **settings)
            both = f"ipv4:{suite.addresses['contacts']},{suite.addresses['contacts-2']}"
            with (
                vafa.connect({"contacts": both}, token=suite.token) as client,
                steady_calls(client) as failures,
            ):
                suite.signal("contacts", signal.SIGTERM)
                assert suite.exit_code("contacts") == 0
                suite.start("contacts", **settings)
            assert failures == []

    def test_a_caller_who_waits_is_served_by_the_next_process(self, alone: ContactsAlone) -> None:
        alone.start("contacts")
        with alone.client() as client, ThreadPoolExecutor(1) as thread:
            name = create(client).name
            alone.kill("contacts")
            waiting: Future[contacts_pb2.Contact] = thread.submit(
                client.contacts.GetContact, GetContact(name=name), wait_for_ready=True, timeout=20
            )
            alone.start("contacts")
            assert waiting.result(timeout=20).name == name


def listens(address: str) -> bool:
    """Whether somebody takes connections at an address."""
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


@contextmanager
def steady_calls(client: vafa.Suite) -> Iterator[list[str]]:
    """Read and write without a pause meanwhile; the list fills with what failed."""
    failures: list[str] = []
    done = {"calls": 0, "ends": 0}

    def call() -> None:
        while not done["ends"]:
            try:
                contact = create(client)
                client.contacts.GetContact(GetContact(name=contact.name))
                done["calls"] += 1
            except vafa.VafaError as error:
                failures.append(str(error))

    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(call) for _ in range(3)]
        yield failures
        done["ends"] = 1
        for each in running:
            each.result(timeout=20)
    assert done["calls"] > 100


@pytest.fixture
def killable() -> Iterator[Postgres]:
    """A PostgreSQL of a test's own."""
    server = Postgres()
    server.start()
    yield server
    server.remove()


@contextmanager
def started_client(suite: ContactsAlone) -> Iterator[vafa.Suite]:
    """Start the service and give a client of it."""
    suite.start("contacts")
    with suite.client() as client:
        yield client


class TestOutage:
    """A service outlives its database."""

    def test_a_service_is_alive_but_not_ready_while_its_database_is_gone(
        self, tmp_path: Path, killable: Postgres
    ) -> None:
        database_url = killable.create("contacts")
        with alone_on(database_url, tmp_path) as suite, started_client(suite) as client:
            name = create(client).name
            calls: list[Callable[[], object]] = [
                lambda: create(client, timeout=2),
                lambda: client.contacts.GetContact(GetContact(name=name), timeout=2),
            ]
            codes: set[str] = set()

            def fails_and_is_not_ready() -> bool:
                for call in calls:
                    began_at = time.monotonic()
                    with pytest.raises(vafa.VafaError) as failed:
                        call()
                    assert time.monotonic() - began_at < 2.5
                    codes.add(failed.value.code.name)
                assert suite.is_ready("contacts", "liveness")
                return not suite.is_ready("contacts")

            killable.kill()
            until(fails_and_is_not_ready, 5)
            assert fails_and_is_not_ready()
            assert codes == {"UNAVAILABLE"}
            killable.start()
            until(lambda: suite.is_ready("contacts"), 5)
            assert client.contacts.GetContact(GetContact(name=name)).name == name
            assert create(client).name
            assert suite.is_running()
            events = {(line["event"], line["process"]) for line in log_lines(suite)}
            # Said by a thread of the database, and not by the event loop.
            assert ("database_transient", "contacts") in events
            assert not {"defect", "background_ended"} & {event for event, _ in events}


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
        until(lambda: bool(taken.spans), 10)
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


def test_settings_that_cannot_work_are_named_without_their_values(tmp_path: Path) -> None:
    suite = ContactsAlone(tmp_path)
    suite.launch(reader_connections="0", drain_delay_seconds="soon")
    assert suite.exit_code() == EXIT_CONFIGURATION
    line = suite.log("contacts").strip()
    assert line.startswith("settings VAFA_CONTACTS_* cannot work: ")
    assert "reader_connections: " in line
    assert "drain_delay_seconds: " in line
    assert "soon" not in line


def test_a_read_that_a_lock_holds_up_is_given_up_and_frees_its_connection(
    postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.create("held_contacts")
    with alone_on(url, tmp_path) as alone:
        alone.start("contacts", reader_connections="1", statement_timeout_seconds="1")
        engine = create_engine(url, poolclass=NullPool)
        with alone.client() as client, engine.begin() as holder:
            holder.execute(text("LOCK TABLE contacts IN ACCESS EXCLUSIVE MODE"))
            with pytest.raises((vafa.Unavailable, vafa.DeadlineExceeded)):
                client.contacts.GetContact(GetContact(name="contacts/nobody"))
            feed = events_pb2.ListEventsRequest(parent="feeds/contacts")
            assert not client.events("contacts").ListEvents(feed, timeout=3).events
            holder.rollback()
        engine.dispose()
