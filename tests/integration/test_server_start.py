"""How a server starts, what it says when it cannot, and the files that it reads again."""

import json
import shutil
import signal
from pathlib import Path

import grpc
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from services.chassis.migrate import migrate
from services.command import keys
from tests.harness.alone import ContactsAlone, create, get_by, log_lines
from tests.harness.roles import write_roles
from tests.harness.suite import RunningSuite
from tests.harness.waiting import until
from vafa.contacts.v1 import contacts_pb2

GetContact = contacts_pb2.GetContactRequest
EXIT_CONFIGURATION = 78


def problems(suite: RunningSuite) -> list[str]:
    """Return what the service said of its settings."""
    return [line["problem"] for line in log_lines(suite) if line["event"] == "configuration"]


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
        until(lambda: "waiting_for_migration" in alone.log("contacts"))
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
        until(lambda: "waiting_for_migration" in alone.log("contacts"))
        alone.signal("contacts", signal.SIGTERM)
        assert alone.exit_code(within_seconds=5) == 0

    def test_a_database_of_a_later_program_is_served(self, alone: ContactsAlone) -> None:
        engine = create_engine(alone.database_urls["contacts"], poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = 'm9999'"))
        alone.start("contacts")
        with alone.client() as client:
            assert create(client).name


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
        until(lambda: get_by(address, new) is grpc.StatusCode.NOT_FOUND)
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

        until(noticed)
        codes |= {get_by(address, token) for _ in range(3)}
        assert codes == {grpc.StatusCode.NOT_FOUND}

    def test_roles_that_change_hold_at_once(self, alone: ContactsAlone) -> None:
        roles_file = alone.folder / "roles.json"
        write_roles(roles_file, {"clerk": ["contacts.read"]})
        alone.start("contacts", roles_file=str(roles_file))
        address, token = alone.addresses["contacts"], alone.token("clerk")
        assert get_by(address, token) is grpc.StatusCode.NOT_FOUND
        write_roles(roles_file, {"clerk": []})
        until(lambda: get_by(address, token) is grpc.StatusCode.PERMISSION_DENIED)


def test_settings_that_cannot_work_are_named_without_their_values(tmp_path: Path) -> None:
    suite = ContactsAlone(tmp_path)
    suite.launch(reader_connections="0", drain_delay_seconds="soon")
    assert suite.exit_code() == EXIT_CONFIGURATION
    line = suite.log("contacts").strip()
    assert line.startswith("settings VAFA_CONTACTS_* cannot work: ")
    assert "reader_connections: " in line
    assert "drain_delay_seconds: " in line
    assert "soon" not in line
