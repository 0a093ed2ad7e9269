"""The manifests of k8s/: what an overlay deploys, and that a mistake in it is found."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts import kubernetes
from scripts.manifests import references
from scripts.manifests.objects import Manifest, Manifests, containers_of, pod_of
from services.chassis.contract import SERVICES

DEPLOY = Path(__file__).resolve().parents[2] / "docs" / "deploy.md"


@pytest.fixture(scope="module")
def rendered() -> dict[str, Manifests]:
    """What each overlay deploys."""
    return {overlay: kubernetes.render(overlay) for overlay in kubernetes.OVERLAYS}


@pytest.mark.parametrize("overlay", kubernetes.OVERLAYS)
def test_an_overlay_is_what_kubernetes_and_the_services_take(
    rendered: dict[str, Manifests], overlay: str
) -> None:
    assert kubernetes.problems(rendered[overlay]) == []


def test_what_is_generated_under_k8s_is_up_to_date() -> None:
    assert kubernetes.renew(kubernetes.BASE, only_check=True) == []


def test_the_guide_tells_how_to_make_each_secret_that_is_named(
    rendered: dict[str, Manifests],
) -> None:
    named = {
        volume["secret"]["secretName"]
        for manifests in rendered.values()
        for workload in manifests.workloads()
        for volume in pod_of(workload)["volumes"]
        if "secret" in volume
    }
    assert named == references.SECRETS.keys()
    made = re.findall(r"create (?:secret generic|configmap) (\S+)", DEPLOY.read_text())
    told = {name.replace("SERVICE", service) for name in made for service in SERVICES}
    assert told == {*references.SECRETS, "token-keys"}


def test_no_secret_is_among_the_manifests(rendered: dict[str, Manifests]) -> None:
    assert [m.of_kind("Secret") for m in rendered.values()] == [[], []]


def test_production_has_two_of_everything_and_dev_one(rendered: dict[str, Manifests]) -> None:
    replicas = {
        overlay: {one["spec"]["replicas"] for one in manifests.of_kind("Deployment")}
        for overlay, manifests in rendered.items()
    }
    assert replicas == {"dev": {1}, "production": {2}}


def of(manifests: Manifests, kind: str, name: str) -> Manifest:
    """Return a manifest that is there."""
    found = manifests.find(kind, name)
    assert found is not None, f"{kind} {name}"
    return found


def spec(manifests: Manifests, kind: str, name: str) -> Manifest:
    """Return the spec of a manifest that is there."""
    found: Manifest = of(manifests, kind, name)["spec"]
    return found


def pod(manifests: Manifests, name: str) -> Manifest:
    """Return the spec of the pods of a Deployment."""
    return pod_of(of(manifests, "Deployment", name))


def container(manifests: Manifests, name: str) -> Manifest:
    """Return the first container of the pods of a Deployment."""
    return containers_of(of(manifests, "Deployment", name))[-1]


def variable(manifests: Manifests, name: str, variable_name: str) -> dict[str, str]:
    """Return a variable of the environment of a Deployment."""
    wanted = f"VAFA_{name.upper()}_{variable_name}"
    found: dict[str, str] = next(
        one for one in container(manifests, name)["env"] if one["name"] == wanted
    )
    return found


def volume(manifests: Manifests, name: str, volume_name: str) -> Manifest:
    """Return a volume of the pods of a Deployment."""
    found: Manifest = next(
        one for one in pod(manifests, name)["volumes"] if one["name"] == volume_name
    )
    return found


def own_token(manifests: Manifests, name: str) -> Manifest:
    """Return the token with which a service calls others, as its pods ask for it."""
    found: Manifest = volume(manifests, name, "identity")["projected"]["sources"][0]
    token: Manifest = found["serviceAccountToken"]
    return token


def without(manifests: Manifests, kind: str, name: str) -> None:
    """Take a manifest away."""
    manifests.all.remove(of(manifests, kind, name))


def access(manifests: Manifests, file: str, change: Callable[[Any], None]) -> None:
    """Change a JSON file of the ConfigMap with roles and issuers."""
    data = of(manifests, "ConfigMap", "access")["data"]
    content = json.loads(data[file])
    change(content)
    data[file] = json.dumps(content)


def envoy(manifests: Manifests, change: Callable[[Any], None]) -> None:
    """Change the configuration of Envoy."""
    data = next(
        one["data"]
        for one in manifests.of_kind("ConfigMap")
        if one["metadata"]["name"].startswith("edge-")
    )
    config = json.loads(data["envoy.json"])
    change(config["static_resources"])
    data["envoy.json"] = json.dumps(config)


def moved_cluster(resources: Any) -> None:
    """Let the edge look for a service at the port of another."""
    for cluster in resources["clusters"]:
        if cluster["name"] == "contacts":
            endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            endpoint["address"]["socket_address"]["port_value"] = 7102


def moved_listener(resources: Any) -> None:
    """Let the edge listen at another port."""
    [callers] = [one for one in resources["listeners"] if one["name"] == "callers"]
    callers["address"]["socket_address"]["port_value"] = 8081


# What is done to the manifests of production, and a part of what is said of it.
MISTAKES: dict[str, tuple[Callable[[Manifests], object], str]] = {
    "an unknown field": (
        lambda m: spec(m, "PodDisruptionBudget", "loyalty").update(maxUnavailble=1),
        "PodDisruptionBudget loyalty: 1.30: spec: Additional properties are not allowed",
    ),
    "a field of the wrong type": (
        lambda m: spec(m, "Deployment", "loyalty").update(replicas="two"),
        "Deployment loyalty: 1.37: spec.replicas: 'two' is not of type",
    ),
    "an unknown kind": (
        lambda m: of(m, "Service", "edge").update(kind="Servise"),
        "Couldn't find schema for kind Servise",
    ),
    "an unknown field of a monitor": (
        lambda m: spec(m, "ServiceMonitor", "edge")["endpoints"][0].update(intervall="15s"),
        "ServiceMonitor edge: spec.endpoints.0.intervall: Extra inputs are not permitted",
    ),
    "a configuration that is too large": (
        lambda m: of(m, "ConfigMap", "access")["data"].update(more="x" * 1024 * 1024),
        "of 1048576 that it may have",
    ),
    "another module": (
        lambda m: container(m, "contacts").update(args=["services.contract"]),
        "contacts: its container runs ['services.contract']",
    ),
    "another probe port": (
        lambda m: container(m, "contacts")["startupProbe"]["grpc"].update(port=7102),
        "contacts: its startupProbe asks {'port': 7102, 'service': 'readiness'}",
    ),
    "a probe of what is not served": (
        lambda m: container(m, "loyalty")["livenessProbe"]["grpc"].update(service="alive"),
        "loyalty: its livenessProbe asks {'port': 7102, 'service': 'alive'}",
    ),
    "a liveness probe that asks the database": (
        lambda m: container(m, "loyalty")["livenessProbe"]["grpc"].update(service="readiness"),
        "loyalty: its livenessProbe asks",
    ),
    "no readiness probe": (
        lambda m: container(m, "feedback").pop("readinessProbe"),
        "feedback: its readinessProbe asks None",
    ),
    "a misspelt setting": (
        lambda m: variable(m, "gateway", "JWKS_FILE").update(name="VAFA_GATEWAY_JWK_FILE"),
        "gateway has no setting jwk_file",
    ),
    "a setting of nobody": (
        lambda m: variable(m, "gateway", "JWKS_FILE").update(name="VAFA_GATEWAYS_JWKS_FILE"),
        "VAFA_GATEWAYS_JWKS_FILE is the setting of no service",
    ),
    "a setting that cannot be": (
        lambda m: variable(m, "gateway", "REFLECTION").update(value="perhaps"),
        "Deployment gateway, service: reflection: Input should be a valid boolean",
    ),
    "a setting given twice": (
        lambda m: container(m, "gateway")["env"].append(variable(m, "gateway", "LISTEN")),
        "VAFA_GATEWAY_LISTEN is set twice",
    ),
    "another port to listen on": (
        lambda m: variable(m, "contacts", "LISTEN").update(value="0.0.0.0:7111"),
        "contacts: it listens on '0.0.0.0:7111' for grpc, not on port 7101",
    ),
    "listening where no pod can ask": (
        lambda m: variable(m, "contacts", "METRICS_LISTEN").update(value="127.0.0.1:7201"),
        "contacts: it listens on '127.0.0.1:7201' for metrics",
    ),
    "another container port": (
        lambda m: container(m, "contacts")["ports"][1].update(containerPort=7202),
        "contacts: its container port metrics is 7202, not 7201",
    ),
    "another port of a Service": (
        lambda m: spec(m, "Service", "contacts")["ports"][0].update(port=7111),
        "contacts: the port grpc of its Service is [7111], not 7101",
    ),
    "a Service that leads to no port": (
        lambda m: spec(m, "Service", "contacts")["ports"][0].update(targetPort="http"),
        "Service contacts: Deployment contacts has no port http",
    ),
    "a Service that selects nothing": (
        lambda m: spec(m, "Service", "contacts")["selector"].update({"app": "contacts"}),
        "Service contacts: it selects 0 workloads",
    ),
    "a Service that selects the pods of all": (
        lambda m: spec(m, "Service", "contacts").update(
            selector={"app.kubernetes.io/component": "service"}
        ),
        "Service contacts: it selects 4 workloads",
    ),
    "a Deployment that does not select its pods": (
        lambda m: spec(m, "Deployment", "contacts")["selector"].update(
            matchLabels={"app.kubernetes.io/name": "loyalty"}
        ),
        "Deployment contacts does not select its own pods alone",
    ),
    "a service that is not deployed": (
        lambda m: without(m, "Deployment", "feedback"),
        "there is no Deployment feedback",
    ),
    "a service without a name": (
        lambda m: without(m, "Service", "feedback"),
        "there is no Service feedback",
    ),
    "an account that is not there": (
        lambda m: without(m, "ServiceAccount", "feedback"),
        "Deployment feedback: there is no ServiceAccount 'feedback'",
    ),
    "replicas without a budget": (
        lambda m: without(m, "PodDisruptionBudget", "edge"),
        "Deployment edge has 0 PodDisruptionBudgets",
    ),
    "a service that nobody watches": (
        lambda m: without(m, "ServiceMonitor", "services"),
        "Service loyalty is watched by 0 ServiceMonitors",
    ),
    "a monitor of another port": (
        lambda m: spec(m, "ServiceMonitor", "edge")["endpoints"][0].update(port="web"),
        "Service edge is watched by 0 ServiceMonitors",
    ),
    "a secret that nobody makes": (
        lambda m: volume(m, "gateway", "signing-key")["secret"].update(secretName="the-key"),
        "Deployment gateway: there is no secret 'the-key'",
    ),
    "a configuration that is not there": (
        lambda m: without(m, "ConfigMap", "access"),
        "Deployment contacts: there is no configMap 'access'",
    ),
    "a volume that is not there": (
        lambda m: pod(m, "contacts")["volumes"].pop(0),
        "Deployment contacts: there is no volume",
    ),
    "a file that is mounted elsewhere": (
        lambda m: variable(m, "contacts", "ROLES_FILE").update(value="/etc/vafa/roles.json"),
        "VAFA_CONTACTS_ROLES_FILE names /etc/vafa/roles.json, which is not mounted",
    ),
    "another namespace": (
        lambda m: of(m, "Service", "edge")["metadata"].update(namespace="default"),
        "Service edge is not in the namespace vafa",
    ),
    "no time to stop": (
        lambda m: pod(m, "contacts").update(terminationGracePeriodSeconds=30),
        "contacts: it is killed before the 35 s that it takes to stop",
    ),
    "a deploy that begins with taking away": (
        lambda m: spec(m, "Deployment", "contacts")["strategy"]["rollingUpdate"].update(
            maxUnavailable=1
        ),
        "contacts: a deploy takes replicas away before it adds others",
    ),
    "the migration of another service": (
        lambda m: containers_of(of(m, "Job", "loyalty-migration"))[0]["args"].append("x"),
        "it runs the command with ['migrate', '--service', 'loyalty', 'x']",
    ),
    "a migration that is given another database": (
        lambda m: containers_of(of(m, "Job", "loyalty-migration"))[0].update(
            args=["services", "migrate", "--service", "contacts"]
        ),
        "it migrates contacts and is given VAFA_LOYALTY_DATABASE_URL_FILE",
    ),
    "an address where nobody is": (
        lambda m: variable(m, "loyalty", "CONTACTS_ADDRESS").update(value="contacts:7102"),
        "loyalty looks for contacts at contacts:7102, where it is not",
    ),
    "no denial by default": (
        lambda m: without(m, "NetworkPolicy", "default-deny"),
        "no policy denies what no other allows",
    ),
    "a call that is not let out": (
        lambda m: without(m, "NetworkPolicy", "loyalty-to-services"),
        "loyalty cannot reach contacts at grpc",
    ),
    "a call that is not let in": (
        lambda m: without(m, "NetworkPolicy", "services-from-edge"),
        "edge cannot reach feedback at grpc",
    ),
    "a policy that lets in everybody": (
        lambda m: [
            spec(m, "NetworkPolicy", "services-from-edge").update(ingress=[{}]),
            spec(m, "NetworkPolicy", "loyalty-to-services").update(egress=[{}]),
        ],
        "loyalty may reach gateway at grpc",
    ),
    "a binding that is missing": (
        lambda m: access(m, "roles.json", lambda f: f["bindings"].clear()),
        "loyalty calls others as kubernetes#system:serviceaccount:vafa:loyalty",
    ),
    "a binding of a stranger": (
        lambda m: access(
            m,
            "roles.json",
            lambda f: f["bindings"].append({"subject": "mallory", "roles": ["admin"]}),
        ),
        "mallory is bound to roles",
    ),
    "a service with all rights": (
        lambda m: access(
            m, "roles.json", lambda f: f["bindings"][0].update(roles=["service", "admin"])
        ),
        "which has not the role of services",
    ),
    "roles that cannot be read": (
        lambda m: access(m, "roles.json", lambda f: f.pop("version")),
        "the ConfigMap access cannot be read",
    ),
    "another subject prefix": (
        lambda m: access(m, "issuers.json", lambda f: f["issuers"][0].update(subject_prefix="k#")),
        "is bound to roles, and is none of the services that call others",
    ),
    "an authority that is not mounted": (
        lambda m: access(m, "issuers.json", lambda f: f["issuers"][0].update(ca_file="/ca.crt")),
        "Deployment edge: https://kubernetes.default.svc.cluster.local wants /ca.crt",
    ),
    "a token for somebody else": (
        lambda m: own_token(m, "loyalty").update(audience="api"),
        "loyalty: its token is for api, not for vafa",
    ),
    "a token that lives too long": (
        lambda m: own_token(m, "loyalty").update(expirationSeconds=7200),
        "loyalty: its token lives longer than the services allow",
    ),
    "a namespace that takes any pod": (
        lambda m: of(m, "Namespace", "vafa")["metadata"]["labels"].clear(),
        "the namespace does not enforce restricted pod security",
    ),
    "a pod of root": (
        lambda m: pod(m, "contacts")["securityContext"].update(runAsUser=0),
        "Deployment contacts: its securityContext is not",
    ),
    "a pod without seccomp": (
        lambda m: pod(m, "edge")["securityContext"].pop("seccompProfile"),
        "Deployment edge: its securityContext is not",
    ),
    "a token that no one asked for": (
        lambda m: pod(m, "edge").pop("automountServiceAccountToken"),
        "Deployment edge: it is given a token of the cluster unasked",
    ),
    "a pod on the network of the node": (
        lambda m: pod(m, "edge").update(hostNetwork=True),
        "Deployment edge: it has hostNetwork",
    ),
    "a file system that can be written": (
        lambda m: container(m, "contacts")["securityContext"].pop("readOnlyRootFilesystem"),
        "Deployment contacts, service: its securityContext is not",
    ),
    "a capability": (
        lambda m: containers_of(of(m, "Job", "loyalty-migration"))[0]["securityContext"].update(
            capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}
        ),
        "Job loyalty-migration, migrate: its securityContext is not",
    ),
    "a folder of the node": (
        lambda m: pod(m, "contacts")["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        "Deployment contacts: the volume x is of the kind hostPath",
    ),
    "temporary files without end": (
        lambda m: volume(m, "edge", "tmp").update(emptyDir={}),
        "Deployment edge: the volume tmp has no sizeLimit",
    ),
    "no limit of memory": (
        lambda m: container(m, "contacts")["resources"]["limits"].pop("memory"),
        "Deployment contacts, service: it states no memory in its limits",
    ),
    "a secret in the environment": (
        lambda m: container(m, "contacts")["env"].append(
            {
                "name": "VAFA_CONTACTS_DATABASE_URL",
                "valueFrom": {"secretKeyRef": {"name": "contacts-database", "key": "url"}},
            }
        ),
        "Deployment contacts, service: a secret may stand in its environment",
    ),
    "an edge that looks elsewhere": (
        lambda m: envoy(m, moved_cluster),
        "edge: it looks for contacts at contacts:7102",
    ),
    "an edge that does not know a service": (
        lambda m: envoy(
            m,
            lambda r: r.update(clusters=[c for c in r["clusters"] if c["name"] != "feedback"]),
        ),
        "edge: it looks for feedback at ",
    ),
    "an edge that listens elsewhere": (
        lambda m: envoy(m, moved_listener),
        "edge: its port http is 8080, not 8081",
    ),
    "an edge without keys": (
        lambda m: volume(m, "edge", "keys").update(configMap={"name": "access"}),
        "edge: /etc/vafa/keys/jwks.json is not mounted",
    ),
    "an edge that is probed where it does not answer": (
        lambda m: container(m, "edge")["livenessProbe"]["httpGet"].update(path="/alive"),
        "edge: its livenessProbe asks '/alive' at metrics",
    ),
    "an edge that stops while it is still found": (
        lambda m: container(m, "edge").pop("lifecycle"),
        "edge: it stops after 0 s",
    ),
    "another image": (
        lambda m: container(m, "edge").update(image="envoyproxy/envoy:latest"),
        "Deployment edge: envoy runs envoyproxy/envoy:latest",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_manifests_is_found(rendered: dict[str, Manifests], mistake: str) -> None:
    make, expected = MISTAKES[mistake]
    manifests = copy.deepcopy(rendered["production"])
    make(manifests)
    found = kubernetes.problems(manifests)
    assert any(expected in problem for problem in found), found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"replicas": 2}, "contacts: SQLite has one writer"),
        ({"strategy": {"type": "RollingUpdate"}}, "contacts: SQLite has one writer"),
    ],
)
def test_a_second_process_on_one_sqlite_file_is_found(
    rendered: dict[str, Manifests], change: dict[str, Any], expected: str
) -> None:
    manifests = copy.deepcopy(rendered["dev"])
    spec(manifests, "Deployment", "contacts").update(change)
    assert any(expected in problem for problem in kubernetes.problems(manifests))


def test_a_database_where_nothing_can_be_written_is_found(
    rendered: dict[str, Manifests],
) -> None:
    manifests = copy.deepcopy(rendered["dev"])
    variable(manifests, "contacts", "DATABASE_URL").update(value="sqlite:////srv/contacts.db")
    assert (
        "Deployment contacts, service: VAFA_CONTACTS_DATABASE_URL is at /srv/contacts.db,"
        " where nothing can be written"
    ) in kubernetes.problems(manifests)
