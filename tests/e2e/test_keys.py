"""`vafa keys`: the first key, those of applications, and a new signing key, against `vafa up`."""

import json
import re
import subprocess
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import jwt
import pytest

import vafa
from tests.e2e.test_up import Up, run
from vafa.contacts.v1 import contacts_pb2
from vafa.gateway.v1 import access_pb2

SECRET = re.compile(r"vafa_[a-z0-9-]+_[A-Za-z0-9_-]{43}\n")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A suite on SQLite that the tests of this module share."""
    with Up(tmp_path_factory.mktemp("keys") / "data") as started:
        yield started


def gateway_of(up: Up) -> str:
    return f"127.0.0.1:{up.base_port}"


def addresses_of(up: Up) -> dict[str, str]:
    found: dict[str, str] = json.loads((up.directory / "endpoints.json").read_text())
    return found


def vafa_keys(up: Up, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the keys of the suite in the data directory."""
    return run("keys", *arguments, "--data-directory", str(up.directory))


def rows_of(up: Up) -> list[list[str]]:
    """Return the rows of the table of keys."""
    listed = vafa_keys(up, "list")
    assert listed.returncode == 0, listed.stderr
    lines = [line for line in listed.stdout.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def test_the_first_key_is_made_once(up: Up) -> None:
    made = vafa_keys(up, "bootstrap")
    assert made.returncode == 0, made.stderr
    assert SECRET.fullmatch(made.stdout)
    assert made.stdout.startswith("vafa_bootstrap_")
    assert "shown this once" in made.stderr
    with vafa.connect(addresses_of(up), api_key=made.stdout.strip()) as suite:
        contact = contacts_pb2.Contact(display_name="Ada")
        suite.contacts.CreateContact(contacts_pb2.CreateContactRequest(contact=contact))
    again = vafa_keys(up, "bootstrap")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("vafa: ALREADY_EXISTS: apiKeys/bootstrap was made before")
    assert made.stdout.strip() not in up.log()


def test_a_key_is_made_listed_and_revoked(up: Up) -> None:
    created = vafa_keys(
        up, "create", "the till", "--role", "reader", "--role", "support", "--id", "till"
    )
    assert created.returncode == 0, created.stderr
    assert SECRET.fullmatch(created.stdout)
    [row] = [row for row in rows_of(up) if row[0] == "till"]
    assert row[1:4] == ["the till", "reader, support", "active"]
    assert row[5] == "operator"
    with vafa.connect(gateway_of(up)) as suite:
        request = access_pb2.ExchangeApiKeyRequest(secret=created.stdout.strip())
        assert suite.api_keys.ExchangeApiKey(request).token
        revoked = vafa_keys(up, "revoke", "till")
        assert revoked.stdout.startswith("apiKeys/till was revoked at ")
        with pytest.raises(vafa.Unauthenticated):
            suite.api_keys.ExchangeApiKey(request)
    [row] = [row for row in rows_of(up) if row[0] == "till"]
    assert row[3] == "revoked"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["create", "x", "--role", "emperor"], "ROLE_UNKNOWN"),
        (["revoke", "nobody"], "apiKeys/nobody was not found"),
    ],
)
def test_what_the_gateway_refuses_is_one_line(up: Up, arguments: list[str], told: str) -> None:
    refused = vafa_keys(up, *arguments)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("vafa: ")
    assert refused.stderr.count("\n") == 1
    assert told in refused.stderr


def test_a_gateway_elsewhere_is_reached_with_the_signing_key_alone(up: Up, tmp_path: Path) -> None:
    arguments = ["--address", gateway_of(up), "--data-directory", str(tmp_path / "none")]
    refused = run("keys", "list", *arguments)
    assert refused.returncode == 1
    assert "there is no signing key" in refused.stderr
    signing_key_file = str(up.directory / "keys" / "signing.pem")
    created = run(
        *("keys", "create", "from afar", "--role", "reader", *arguments),
        VAFA_GATEWAY_SIGNING_KEY_FILE=signing_key_file,
    )
    assert created.returncode == 0, created.stderr
    assert "from afar" in [row[1] for row in rows_of(up)]


def test_a_new_key_signs_while_the_suite_runs_on(up: Up) -> None:
    def kid(token: str) -> str:
        return str(jwt.get_unverified_header(token)["kid"])

    old_token = run("token", "--data-directory", str(up.directory)).stdout.strip()
    rotated = vafa_keys(up, "rotate-signing")
    assert rotated.returncode == 0, rotated.stderr
    new_token = run("token", "--data-directory", str(up.directory)).stdout.strip()
    assert kid(new_token) != kid(old_token)
    for token in (old_token, new_token):
        with vafa.connect(addresses_of(up), token=token) as suite:
            suite.contacts.ListContacts(contacts_pb2.ListContactsRequest())
            published = suite.api_keys.GetJsonWebKeySet(access_pb2.GetJsonWebKeySetRequest())
            assert {kid(old_token), kid(new_token)} == {key.kid for key in published.keys}
        at_edge = HTTPConnection("127.0.0.1", up.edge_port, timeout=10)
        at_edge.request("GET", "/v1/contacts", headers={"authorization": f"Bearer {token}"})
        assert at_edge.getresponse().status == HTTPStatus.OK
        at_edge.close()


def test_an_application_calls_the_edge_with_its_key(up: Up) -> None:
    secret = vafa_keys(up, "create", "the portal", "--role", "reader").stdout.strip()
    with vafa.connect(f"127.0.0.1:{up.edge_port}", api_key=secret) as suite:
        suite.contacts.ListContacts(contacts_pb2.ListContactsRequest(page_size=1))
        with pytest.raises(vafa.PermissionDenied):
            suite.contacts.CreateContact(contacts_pb2.CreateContactRequest())
