"""`vafa up` and the commands that talk to it, as real processes on free ports."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import pytest
from google.protobuf import json_format
from google.type import money_pb2

import vafa
from services.chassis.contract import SERVICES
from tests.harness.ports import free_base_port, is_free
from tests.harness.postgres import Postgres
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2
from vafa.feedback.v1 import surveys_pb2
from vafa.gateway.v1 import customers_pb2
from vafa.loyalty.v1 import ledger_pb2, members_pb2, programs_pb2

TIMEOUT_SECONDS = 90
VAFA = (sys.executable, "-P", "-m", "services")
READY = "The suite is ready."


def wait_until(condition: Callable[[], object], what: str) -> None:
    ends_at = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < ends_at, f"not in time: {what}"
        time.sleep(0.05)


def exists(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


class Up:
    """A `vafa up`, ready when it is entered, and killed with all it started when it is left."""

    def __init__(
        self, directory: Path, *options: str, command: tuple[str, ...] = VAFA, **environment: str
    ) -> None:
        self._command = command
        self._environment = environment
        self.directory = directory
        self.base_port = free_base_port()
        self.edge_port = self.base_port + 4
        self._log_file = directory.with_suffix(".log")
        self._options = options

    def __enter__(self) -> Self:
        arguments = ["up", "--data-directory", str(self.directory), *self._options]
        ports = ["--base-port", str(self.base_port), "--edge-port", str(self.edge_port)]
        with self._log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*self._command, *arguments, *ports],
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
            )
        wait_until(lambda: READY in self.log() or self.process.poll() is not None, "ready")
        if self.process.poll() is not None:
            raise AssertionError(f"it ended:\n{self.log()}")
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        return self._log_file.read_text()

    def process_ids(self) -> dict[str, int]:
        """Return the process of each service."""
        lines = self._command_lines()
        return {
            service: child
            for service in SERVICES
            for child, line in lines.items()
            if f"services.{service}\0" in line
        }

    def edge_process_id(self) -> int | None:
        """Return the process of the edge; None if there is none yet."""
        lines = self._command_lines()
        return next((child for child, line in lines.items() if "/edge.json" in line), None)

    def _command_lines(self) -> dict[int, str]:
        own = self.process.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        return {int(child): Path(f"/proc/{child}/cmdline").read_text() for child in children}

    def interrupt(self) -> int:
        """Press Ctrl-C, as it were, and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=TIMEOUT_SECONDS)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*VAFA, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        # Wide enough that no table is folded.
        env={**os.environ, "COLUMNS": "200", **environment},
    )


def a_program(suite: vafa.Suite, id_: str) -> str:
    """Make a programme in which an order of 1.00 USD earns a point, and return its name."""
    earn_rate = programs_pb2.EarnRate(
        points=1, per_amount=money_pb2.Money(currency_code="USD", units=1)
    )
    program = programs_pb2.Program(display_name="Club", currency_code="USD", earn_rate=earn_rate)
    request = programs_pb2.CreateProgramRequest(program=program, program_id=id_)
    return suite.programs.CreateProgram(request).name


def a_contact(suite: vafa.Suite, display_name: str) -> contacts_pb2.Contact:
    contact = contacts_pb2.Contact(display_name=display_name)
    return suite.contacts.CreateContact(contacts_pb2.CreateContactRequest(contact=contact))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A suite on SQLite that the tests of this module share."""
    with Up(tmp_path_factory.mktemp("up") / "data") as started:
        yield started


def test_every_service_answers_a_client_of_the_data_directory(up: Up) -> None:
    with vafa.connect_local(up.directory) as suite:
        created = a_contact(suite, "آدا")
        name = created.name.replace("contacts/", "customers/")
        customer = suite.customers.GetCustomer(customers_pb2.GetCustomerRequest(name=name))
    # The gateway got there with the token of the caller, and found all parts.
    assert customer.contact == created
    assert not customer.unavailable_parts


def test_the_ready_message_says_where_everything_is(up: Up) -> None:
    message = up.log().partition(READY)[2].partition("Ctrl-C")[0]
    for service, offset in (("gateway", 0), ("contacts", 1), ("loyalty", 2), ("feedback", 3)):
        line = next(line for line in message.splitlines() if line.strip().startswith(service))
        assert f"127.0.0.1:{up.base_port + offset} " in line
        assert f"http://127.0.0.1:{up.base_port + 100 + offset}/metrics" in line
        assert f"sqlite:///{up.directory}/{service}.db" in line
    line = next(line for line in message.splitlines() if line.strip().startswith("edge"))
    assert f"127.0.0.1:{up.edge_port} " in line
    assert f"http://127.0.0.1:{up.edge_port + 100}/stats/prometheus" in line
    assert f"http://127.0.0.1:{up.edge_port}/docs" in line
    assert f"vafa token --data-directory {up.directory}" in message


def test_one_port_serves_every_service_by_json_and_by_grpc(up: Up) -> None:
    token = run("token", "--data-directory", str(up.directory)).stdout.strip()
    with vafa.connect(f"127.0.0.1:{up.edge_port}", token=token) as suite:
        created = a_contact(suite, "آدا")
        name = created.name.replace("contacts/", "customers/")
        customer = suite.customers.GetCustomer(customers_pb2.GetCustomerRequest(name=name))
        assert customer.contact == created
        suite.surveys.ListSurveys(surveys_pb2.ListSurveysRequest())
        events = suite.events("contacts").ListEvents(
            events_pb2.ListEventsRequest(parent="feeds/contacts")
        )
    assert created.name in {event.subject for event in events.events}
    connection = HTTPConnection(f"127.0.0.1:{up.edge_port}", timeout=10)
    with closing(connection):
        headers = {"authorization": f"Bearer {token}"}
        connection.request("GET", f"/v1/{created.name}", headers=headers)
        answer = json.loads(connection.getresponse().read())
    assert json_format.ParseDict(answer, contacts_pb2.Contact()) == created


@pytest.fixture
def python_without_envoy(tmp_path: Path) -> Path:
    """A Python with all that this one has, but no Envoy beside it."""
    beside = tmp_path / "venv"
    (beside / "bin").mkdir(parents=True)
    (beside / "pyvenv.cfg").write_bytes((Path(sys.prefix) / "pyvenv.cfg").read_bytes())
    (beside / "lib").symlink_to(Path(sys.prefix) / "lib")
    (beside / "bin" / "python").symlink_to(sys.executable)
    return beside / "bin" / "python"


def test_without_an_envoy_the_suite_serves_grpc_alone_and_says_so(
    tmp_path: Path, python_without_envoy: Path
) -> None:
    command = (str(python_without_envoy), *VAFA[1:])
    with Up(tmp_path / "data", command=command, PATH=os.defpath) as up:
        with vafa.connect_local(up.directory) as suite:
            assert a_contact(suite, "Ada").display_name == "Ada"
        assert is_free(up.edge_port)
        message = up.log().partition(READY)[2].partition("Ctrl-C")[0]
    (line,) = (line for line in message.splitlines() if line.strip().startswith("edge"))
    assert "off, and with it JSON and gRPC-Web" in line


def test_a_taken_port_of_the_edge_is_named(up: Up, tmp_path: Path) -> None:
    ports = ("--base-port", str(free_base_port()), "--edge-port", str(up.edge_port))
    second = run("up", "--data-directory", str(tmp_path), *ports)
    assert second.returncode == 1
    address = f"127.0.0.1:{up.edge_port}"
    assert second.stderr == f"vafa: edge cannot listen on {address}: the port is in use\n"


def test_an_edge_that_is_killed_comes_back_and_serves(up: Up) -> None:
    killed = up.edge_process_id()
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: up.edge_process_id() not in {killed, None}, "another process")
    token = run("token", "--data-directory", str(up.directory)).stdout.strip()
    with vafa.connect(f"127.0.0.1:{up.edge_port}", token=token) as suite:

        def lists_contacts() -> bool:
            try:
                suite.contacts.ListContacts(contacts_pb2.ListContactsRequest())
            except vafa.Unavailable:
                return False
            return True

        wait_until(lists_contacts, "an answer through the new process")


def test_calls_that_succeed_stay_out_of_the_log_and_refused_ones_are_in_it(up: Up) -> None:
    with vafa.connect_local(up.directory) as suite:
        contact = a_contact(suite, "Ada")
        suite.contacts.GetContact(contacts_pb2.GetContactRequest(name=contact.name))
        with pytest.raises(vafa.NotFound):
            suite.contacts.GetContact(contacts_pb2.GetContactRequest(name="contacts/nobody"))
    wait_until(lambda: "method=GetContact code=NOT_FOUND" in up.log(), "the refusal in the log")
    assert "code=OK" not in up.log()


def test_a_service_that_is_killed_comes_back_and_serves(up: Up) -> None:
    with vafa.connect_local(up.directory) as suite:
        killed = up.process_ids()["loyalty"]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: "was ended by SIGKILL; starting it again" in up.log(), "its end")
        wait_until(lambda: up.process_ids().get("loyalty", killed) != killed, "another process")

        def lists_programs() -> bool:
            try:
                suite.programs.ListPrograms(programs_pb2.ListProgramsRequest())
            except vafa.Unavailable:
                return False
            return True

        wait_until(lists_programs, "an answer of the new process")


def test_a_second_suite_in_the_same_directory_is_refused(up: Up) -> None:
    second = run("up", "--data-directory", str(up.directory), "--base-port", str(free_base_port()))
    assert second.returncode == 1
    in_use = f"{up.directory} is in use: its suite is run by process {up.process.pid}"
    assert second.stderr == f"vafa: {in_use}\n"


def test_a_port_in_use_is_named(up: Up, tmp_path: Path) -> None:
    second = run("up", "--data-directory", str(tmp_path), "--base-port", str(up.base_port - 3))
    assert second.returncode == 1
    address = f"127.0.0.1:{up.base_port}"
    assert second.stderr == f"vafa: feedback cannot listen on {address}: the port is in use\n"


def test_a_printed_token_carries_the_roles_that_were_asked_for(up: Up) -> None:
    reader = run("token", "--role", "reader", VAFA_DATA_DIRECTORY=str(up.directory))
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", reader.stdout), reader.stderr
    token = reader.stdout.strip()
    with vafa.connect(f"127.0.0.1:{up.base_port + 1}", token=token) as suite:
        suite.contacts.ListContacts(contacts_pb2.ListContactsRequest())
        with pytest.raises(vafa.PermissionDenied):
            a_contact(suite, "Ada")


def test_a_token_is_the_admins_unless_a_role_is_given(up: Up) -> None:
    token = run("token", "--data-directory", str(up.directory)).stdout.strip()
    with vafa.connect(f"127.0.0.1:{up.base_port + 1}", token=token) as suite:
        assert a_contact(suite, "Ada").display_name == "Ada"


def test_verification_of_an_empty_programme_finds_nothing(up: Up) -> None:
    with vafa.connect_local(up.directory) as suite:
        a_program(suite, "empty")
    verified = run("verify", "--program", "empty", "--data-directory", str(up.directory))
    assert verified.returncode == 0, verified.stderr
    assert figures_of("empty", verified.stdout) == [0, 0, 0, 0, 0, 0]


def test_verification_counts_what_it_checked(up: Up) -> None:
    with vafa.connect_local(up.directory) as suite:
        program = a_program(suite, "filled")
        contact = a_contact(suite, "Ada")
        member = suite.members.CreateMember(
            members_pb2.CreateMemberRequest(
                parent=program, member=members_pb2.Member(contact=contact.name)
            )
        )
        award = ledger_pb2.AwardPointsRequest(member=member.name, points=100, reason="welcome")
        suite.ledger.AwardPoints(award)
        spend = ledger_pb2.SpendPointsRequest(member=member.name, points=30, reason="mug")
        suite.ledger.SpendPoints(spend)
    # Over the address of the service instead of the directory.
    verified = run(
        "verify",
        "--program",
        "programs/filled",
        "--address",
        f"127.0.0.1:{up.base_port + 2}",
        "--token-file",
        str(up.directory / "tokens" / "admin.jwt"),
    )
    assert verified.returncode == 0, verified.stderr
    # One member, two transactions of two entries each, one lot, no orders, no violations.
    assert figures_of("filled", verified.stdout) == [1, 2, 4, 1, 0, 0]


def test_a_balance_that_was_tampered_with_fails_the_verification_of_all(up: Up) -> None:
    with vafa.connect_local(up.directory) as suite:
        program = a_program(suite, "tampered")
        contact = a_contact(suite, "Ada")
        request = members_pb2.CreateMemberRequest(
            parent=program, member=members_pb2.Member(contact=contact.name)
        )
        member = suite.members.CreateMember(request)
    with closing(sqlite3.connect(up.directory / "loyalty.db")) as connection, connection:
        connection.execute(
            "UPDATE members SET points_balance = 7 WHERE member_id = ?",
            [member.name.rpartition("/")[2]],
        )
    verified = run("verify", "--data-directory", str(up.directory))
    assert verified.returncode == 1
    assert figures_of("tampered", verified.stdout)[-1] > 0
    row = next(line for line in verified.stdout.splitlines() if member.name in line)
    assert row.split("│")[1].strip() == "balance is sum of entries"
    assert [int(cell) for cell in re.findall(r"│\s*(\d+)\s*(?=│)", row)] == [0, 7]


def test_verification_of_an_unknown_programme_is_one_line_of_error(up: Up) -> None:
    verified = run("verify", "--program", "nix", "--data-directory", str(up.directory))
    assert verified.returncode == 1
    assert verified.stderr.startswith("vafa: NOT_FOUND (RESOURCE_NOT_FOUND) ")
    assert verified.stderr.count("\n") == 1
    assert "programs/nix" in verified.stderr


def figures_of(program_id: str, output: str) -> list[int]:
    """Return the figures in the row of a programme."""
    row = next(line for line in output.splitlines() if f" {program_id} " in line)
    return [int(cell) for cell in re.findall(r"│\s*([\d,]+)\s*(?=│)", row)]


def test_ctrl_c_stops_everything_and_the_next_start_finds_all_that_was_there(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "data"
    with Up(directory, "--json-log") as first:
        with vafa.connect_local(directory) as suite:
            contact = a_contact(suite, "Ada")
        processes = first.process_ids()
        assert set(processes) == set(SERVICES)
        assert first.interrupt() == 0
        assert not any(map(exists, processes.values()))
        with pytest.raises(FileNotFoundError, match="no suite runs"):
            vafa.connect_local(directory)
        logged = [json.loads(line) for line in first.log().splitlines() if line.startswith("{")]
        events = {(fields["process"], fields["event"]) for fields in logged}
        assert {(service, "serving") for service in SERVICES} <= events
        assert {(service, "stopped") for service in SERVICES} <= events
        assert ("vafa", "SIGINT: stopping") in events
    with Up(directory), vafa.connect_local(directory) as suite:
        request = contacts_pb2.GetContactRequest(name=contact.name)
        assert suite.contacts.GetContact(request) == contact


def test_one_url_of_postgresql_gives_each_service_a_database_of_its_own(
    tmp_path: Path, postgres: Postgres
) -> None:
    name = f"up_{os.getpid()}"
    directory = tmp_path / "data"
    with Up(directory, "--database-url", postgres.url(name)) as started:
        with vafa.connect_local(directory) as suite:
            contact = a_contact(suite, "آدا")
            a_program(suite, "club")
        assert started.interrupt() == 0
    with psycopg.connect(postgres.conninfo(f"{name}_contacts")) as connection:
        rows = connection.execute("SELECT contact_id, display_name FROM contacts").fetchall()
    assert rows == [(contact.name.removeprefix("contacts/"), "آدا")]
    with psycopg.connect(postgres.conninfo(f"{name}_loyalty")) as connection:
        assert connection.execute("SELECT program_id FROM programs").fetchall() == [("club",)]
    assert not (directory / "contacts.db").exists()
    migrated = run(
        "migrate", "--database-url", postgres.url(name), "--data-directory", str(directory)
    )
    assert [line.split()[0] for line in migrated.stdout.splitlines()] == list(SERVICES)
    assert f"/{name}_gateway" in migrated.stdout


def test_the_sample_is_loaded_once_and_its_figures_are_printed(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    figures = (
        "2,357 customers · 6,919 orders · 244,091.94 USD"
        " · 1,152 repeat customers (48.88 %) · 239,444 points"
    )
    with Up(directory, "--sample") as first:
        wait_until(lambda: "cdnow customer 00004" in first.log(), "the picture of a customer")
        assert figures in first.log()
        assert first.interrupt() == 0
    with Up(directory, "--sample") as second:
        wait_until(lambda: "cdnow customer 00004" in second.log(), "the picture of a customer")
        assert figures in second.log()
        assert "Loading" not in second.log()
