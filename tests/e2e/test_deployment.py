"""The suite as the overlays of k8s/ deploy it: as real processes with the same commands,
environment, files and probes.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import vafa
from scripts import kubernetes
from services.chassis.contract import SERVICES
from tests.harness.pods import Pods
from tests.harness.postgres import Postgres
from vafa.contacts.v1 import contacts_pb2
from vafa.events.v1 import events_pb2

ROOT = Path(__file__).resolve().parents[2]
APPLIED_SECONDS = 30


def database_secrets(postgres: Postgres) -> dict[str, dict[str, str]]:
    """Make the databases and their roles by the statements of docs/deploy.md, and return the
    secrets with their URLs.
    """
    guide = (ROOT / "docs" / "deploy.md").read_text()
    found = re.search(r"```sql\n(.*?)```", guide, re.DOTALL)
    assert found is not None
    before, _, after = found.group(1).partition("\\connect SERVICE\n")
    secrets = {}
    for service in SERVICES:
        name = f"deployed_{service}"
        for database, statements in (("postgres", before), (name, after)):
            with psycopg.connect(postgres.conninfo(database), autocommit=True) as connection:
                for statement in statements.replace("SERVICE", name).strip().split(";\n"):
                    connection.execute(statement.encode())
        for secret, role in (
            (f"{service}-database", name),
            (f"{service}-database-owner", f"{name}_owner"),
        ):
            url = f"postgresql+psycopg://{role}@127.0.0.1:{postgres.port}/{name}"
            secrets[secret] = {"url": f"{url}\n"}
    return secrets


@pytest.fixture(scope="module", params=kubernetes.OVERLAYS)
def pods(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pods]:
    """The services of an overlay, migrated and running."""
    overlay: str = request.param
    secrets = {}
    if overlay == "production":
        secrets = database_secrets(request.getfixturevalue("postgres"))
    with Pods(kubernetes.render(overlay), tmp_path_factory.mktemp(overlay), secrets) as started:
        started.migrate()
        started.start()
        yield started


def test_each_service_answers_its_probes(pods: Pods) -> None:
    failed = [
        (service, probe)
        for service, _, container in pods.manifests.service_pods()
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        if not pods.probe(container[probe])
    ]
    assert failed == []


def test_a_service_calls_another_as_its_service_account(pods: Pods) -> None:
    with pods.client() as suite:
        suite.contacts.CreateContact(
            contacts_pb2.CreateContactRequest(contact=contacts_pb2.Contact(display_name="Ada"))
        )
    ends_at = time.monotonic() + APPLIED_SECONDS
    while 'consumer_applied_total{event_type="contact.created",source="feeds/contacts"} 1' not in (
        pods.metrics("loyalty")
    ):
        assert time.monotonic() < ends_at, pods.metrics("loyalty")
        time.sleep(0.05)
    assert "Bearer cluster-token-contacts" in pods.asked_for_keys_with


@pytest.mark.parametrize("account", ["contacts", "default"])
def test_a_pod_that_is_bound_to_no_role_may_do_nothing(pods: Pods, account: str) -> None:
    with (
        pods.client(pods.service_account_token(account)) as suite,
        pytest.raises(vafa.PermissionDenied),
    ):
        suite.events("contacts").ListEvents(events_pb2.ListEventsRequest(parent="feeds/contacts"))


def test_the_account_of_a_service_may_only_what_services_need(pods: Pods) -> None:
    with (
        pods.client(pods.service_account_token("loyalty")) as suite,
        pytest.raises(vafa.PermissionDenied),
    ):
        suite.contacts.CreateContact(
            contacts_pb2.CreateContactRequest(contact=contacts_pb2.Contact(display_name="Ada"))
        )


def test_the_first_key_is_made_in_a_pod_of_the_gateway(pods: Pods) -> None:
    deployment = pods.manifests.find("Deployment", "gateway")
    assert deployment is not None
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    guide = (ROOT / "docs" / "deploy.md").read_text()
    found = re.search(r"python -P -m (services keys bootstrap --address) 127.0.0.1:(\d+)", guide)
    assert found is not None
    assert found.group(2) == str(container["ports"][0]["containerPort"])
    arguments = [*found.group(1).split(), pods.ports[found.group(2)]]
    assert len(pods.execute(deployment, container, arguments).strip()) > 32


@pytest.mark.parametrize("pods", ["production"], indirect=True)
def test_a_service_may_not_change_the_tables_of_its_database(
    pods: Pods, postgres: Postgres
) -> None:
    role = "deployed_loyalty"
    with (
        psycopg.connect(postgres.conninfo(role).replace("user=postgres", f"user={role}")) as own,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be owner"),
    ):
        own.execute("ALTER TABLE ledger_entries DISABLE TRIGGER ALL")


def test_envoy_takes_the_configuration_that_is_deployed(pods: Pods) -> None:
    deployment = pods.manifests.find("Deployment", "edge")
    assert deployment is not None
    root = pods.files(deployment)
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    here = [re.sub("^/etc/", f"{root}/etc/", argument) for argument in arguments]
    envoy = Path(sys.executable).parent / "envoy"
    done = subprocess.run(
        [envoy, *here, "--mode", "validate"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_signing_key_of_a_cluster_is_made_once(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "services", "keys", "make-signing"]
    made = []
    for _ in range(2):
        subprocess.run([*command, "--data-directory", tmp_path], check=True, cwd=ROOT)
        folder = tmp_path / "keys"
        made.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert made[0] == made[1]
    assert made[0].keys() == {"signing.pem", "jwks.json"}
