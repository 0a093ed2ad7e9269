"""Whether what the manifests tell each service is what its settings and its code know."""

import importlib
from collections.abc import Iterator
from importlib.util import find_spec

from pydantic import ValidationError

from scripts.manifests.objects import (
    Manifest,
    Manifests,
    containers_of,
    environment_of,
    pod_of,
    ports_of,
    title,
)
from scripts.manifests.references import files_of
from services.chassis.contract import SERVICES
from services.chassis.health import LIVENESS, READINESS
from services.chassis.settings import ServiceSettings

ON_EVERY_ADDRESS = "0.0.0.0"  # noqa: S104
PROBES = {"startupProbe": READINESS, "readinessProbe": READINESS, "livenessProbe": LIVENESS}
# What the process needs to end after its last call.
MARGIN_SECONDS = 5


def problems(manifests: Manifests) -> list[str]:
    """Return where a service is told what it does not know, or listens where nobody asks it."""
    found: list[str] = []
    for service, pod, container in manifests.service_pods():
        of_service = [
            *_of_process(service, container),
            *_of_ports(manifests, service, container),
            *_of_probes(container),
            *_of_drain(settings_of(service), pod),
            *_of_replicas(manifests, service, pod),
        ]
        found += [f"{service}: {problem}" for problem in of_service]
    for workload in manifests.workloads():
        for container in containers_of(workload):
            of_container = [
                *_of_environment(container),
                *_of_files(manifests, pod_of(workload), container),
                *_of_migration(container),
            ]
            about = f"{title(workload)}, {container['name']}"
            found += [f"{about}: {problem}" for problem in of_container]
    return found


def settings_of(service: str) -> type[ServiceSettings]:
    """Return the class of a service's settings."""
    settings: type[ServiceSettings] = importlib.import_module(
        f"services.{service}.settings"
    ).Settings
    return settings


def port_of(address: str) -> int:
    """Return the port of `host:port`."""
    return int(address.rpartition(":")[2])


def _of_process(service: str, container: Manifest) -> Iterator[str]:
    module = f"services.{service}"
    if container.get("args") != [module]:
        yield f"its container runs {container.get('args')}"
    if find_spec(f"{module}.__main__") is None:
        yield f"python -m {module} runs nothing"


def _of_ports(manifests: Manifests, service: str, container: Manifest) -> Iterator[str]:
    environment, ports = environment_of(container), ports_of(container)
    served = manifests.find("Service", service)
    for port, field in (("grpc", "listen"), ("metrics", "metrics_listen")):
        by_default = port_of(settings_of(service).model_fields[field].default)
        listen = environment.get(f"VAFA_{service.upper()}_{field.upper()}", "")
        if listen != f"{ON_EVERY_ADDRESS}:{by_default}":
            yield f"it listens on {listen!r} for {port}, not on port {by_default}"
        if ports.get(port) != by_default:
            yield f"its container port {port} is {ports.get(port)}, not {by_default}"
        outside = (
            [p["port"] for p in served["spec"]["ports"] if p["name"] == port] if served else []
        )
        if outside != [by_default]:
            yield f"the port {port} of its Service is {outside}, not {by_default}"


def _of_probes(container: Manifest) -> Iterator[str]:
    port = ports_of(container).get("grpc")
    for probe, asked in PROBES.items():
        grpc = container.get(probe, {}).get("grpc")
        if grpc != {"port": port, "service": asked}:
            yield f"its {probe} asks {grpc}, not {asked} at {port}"


def _of_drain(settings: type[ServiceSettings], pod: Manifest) -> Iterator[str]:
    fields = settings.model_fields
    needed = fields["drain_delay_seconds"].default + fields["stop_grace_seconds"].default
    if pod["terminationGracePeriodSeconds"] < needed + MARGIN_SECONDS:
        yield f"it is killed before the {needed} s that it takes to stop"


def _of_replicas(manifests: Manifests, service: str, pod: Manifest) -> Iterator[str]:
    deployment = manifests.find("Deployment", service) or {}
    spec = deployment["spec"]
    if any("persistentVolumeClaim" in volume for volume in pod["volumes"]):
        if spec["replicas"] != 1 or spec["strategy"] != {"type": "Recreate"}:
            yield "SQLite has one writer, but a second replica may be started"
    elif spec["strategy"]["rollingUpdate"]["maxUnavailable"] != 0:
        yield "a deploy takes replicas away before it adds others"


def _of_environment(container: Manifest) -> Iterator[str]:
    names = [one["name"] for one in container.get("env", ())]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name} is set twice"
    given: dict[str, dict[str, str]] = {}
    for name, value in environment_of(container).items():
        service, _, field = name.removeprefix("VAFA_").partition("_")
        if name == "VAFA_DATA_DIRECTORY":
            continue
        if not name.startswith("VAFA_") or service.lower() not in SERVICES:
            yield f"{name} is the setting of no service"
        elif field.lower() not in settings_of(service.lower()).model_fields:
            yield f"{service.lower()} has no setting {field.lower()}"
        else:
            given.setdefault(service.lower(), {})[field.lower()] = value
    for service, values in given.items():
        # The file is there when the service runs; here its place is looked at.
        values.pop("database_url_file", None)
        try:
            settings_of(service).model_validate(values)
        except ValidationError as error:
            yield from (f"{one['loc'][0]}: {one['msg']}" for one in error.errors())


def _of_files(manifests: Manifests, pod: Manifest, container: Manifest) -> Iterator[str]:
    files = files_of(manifests, pod, container)
    for name, value in environment_of(container).items():
        if name.endswith("_FILE") and value not in files:
            yield f"{name} names {value}, which is not mounted"
    writable = [
        mount["mountPath"]
        for mount in container.get("volumeMounts", ())
        if not mount.get("readOnly", False)
    ]
    for name, value in environment_of(container).items():
        if value.startswith("sqlite:///"):
            path = value.removeprefix("sqlite:///")
        elif name == "VAFA_DATA_DIRECTORY":
            path = value
        else:
            continue
        if not any(f"{path}/".startswith(f"{folder}/") for folder in writable):
            yield f"{name} is at {path}, where nothing can be written"


def _of_migration(container: Manifest) -> Iterator[str]:
    match container.get("args"):
        case ["services", "migrate", "--service", service] if service in SERVICES:
            urls = [name for name in environment_of(container) if "_DATABASE_URL" in name]
            if urls not in ([], [f"VAFA_{service.upper()}_DATABASE_URL_FILE"]):
                yield f"it migrates {service} and is given {', '.join(urls)}"
        case ["services", *arguments]:
            yield f"it runs the command with {arguments}"
