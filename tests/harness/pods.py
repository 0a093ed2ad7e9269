"""The pods of an overlay as processes on this machine: their commands, their environment, their
files. What a cluster has and this machine has not is put in its place: folders for volumes, free
ports for those of the pods, and an issuer of tokens for the cluster's.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import vafa
from scripts.manifests.objects import (
    NAMESPACE,
    Manifest,
    Manifests,
    environment_of,
    pod_of,
)
from services.command import keys
from tests.harness.issuers import ForeignIssuer, KeyServer
from tests.harness.ports import free_port
from tests.harness.suite import ROOT

READY_SECONDS = 60
STOP_SECONDS = 20
LISTEN = re.compile(r"0\.0\.0\.0:\d+")


class Pods:
    """The pods of an overlay; a context manager. `secrets` are the files of its database
    secrets, by the secret's name.
    """

    def __init__(
        self, manifests: Manifests, folder: Path, secrets: Mapping[str, Mapping[str, str]]
    ) -> None:
        self.manifests = manifests
        self.folder = folder
        access = manifests.find("ConfigMap", "access")
        assert access is not None
        self._issuers = json.loads(access["data"]["issuers.json"])
        self.cluster = ForeignIssuer(self._issuers["issuers"][0]["issuer"])
        self._api = KeyServer(folder, tls=True)
        self._api.body = self.cluster.jwks().encode()
        keys.ensure_signing_key(folder / "suite")
        signing, jwks = (folder / "suite" / "keys" / name for name in ("signing.pem", "jwks.json"))
        self._external = {
            "signing-key": {"signing.pem": signing.read_text()},
            "token-keys": {"jwks.json": jwks.read_text()},
            "kube-root-ca.crt": {"ca.crt": self._api.ca_file.read_text()},
            **secrets,
        }
        self.ports: dict[str, str] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for process in self._running.values():
            process.terminate()
        codes = {name: one.wait(timeout=STOP_SECONDS) for name, one in self._running.items()}
        self._api.stop()
        assert not any(codes.values()), codes

    @property
    def asked_for_keys_with(self) -> set[str]:
        """The tokens that the API of the cluster was shown by whoever asked for its keys."""
        return {headers["authorization"] for headers in self._api.requests}

    def service_account_token(self, account: str) -> str:
        """Return a token of a ServiceAccount, as the cluster would give it to a pod."""
        return self.cluster.token(sub=f"system:serviceaccount:{NAMESPACE}:{account}")

    def migrate(self) -> None:
        """Run what runs before the services: Jobs, and the containers that go first."""
        for workload in self.manifests.workloads():
            pod = pod_of(workload)
            first = pod.get("initContainers", [])
            for container in first or (pod["containers"] if workload["kind"] == "Job" else []):
                self.execute(workload, container, container["args"])

    def execute(self, workload: Manifest, container: Manifest, arguments: Sequence[str]) -> str:
        """Run the image in a container of a pod until it ends, and return what it printed."""
        done = subprocess.run(
            self._command(arguments),
            env=self._environment(workload, container),
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        """Start the services, and wait until each answers its startup probe."""
        services = list(self.manifests.service_pods())
        for service, _, container in services:
            deployment = self.manifests.find("Deployment", service)
            assert deployment is not None
            environment = self._environment(deployment, container)
            # Nobody balances load here.
            environment[f"VAFA_{service.upper()}_DRAIN_DELAY_SECONDS"] = "0"
            with (self.folder / f"{service}.log").open("wb") as log:
                self._running[service] = subprocess.Popen(
                    self._command(container["args"]),
                    env=environment,
                    cwd=ROOT,
                    stdout=log,
                    stderr=log,
                )
        ends_at = time.monotonic() + READY_SECONDS
        for service, _, container in services:
            while not self.probe(container["startupProbe"]):
                log_text = (self.folder / f"{service}.log").read_text()
                assert self._running[service].poll() is None, f"{service} ended:\n{log_text}"
                assert time.monotonic() < ends_at, f"{service} is not ready:\n{log_text}"
                time.sleep(0.05)

    def probe(self, probe: Mapping[str, Any]) -> bool:
        """Ask what a probe asks, and return whether it succeeds."""
        asked = probe["grpc"]
        with grpc.insecure_channel(self._local(str(asked["port"]))) as channel:
            request = health_pb2.HealthCheckRequest(service=asked["service"])
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    request, timeout=probe["timeoutSeconds"]
                )
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def client(self, token: str = "") -> vafa.Suite:
        """Return a client of the services, with all permissions unless a token is given."""
        addresses = {
            service: self._local(str(container["ports"][0]["containerPort"]))
            for service, _, container in self.manifests.service_pods()
        }
        admin = keys.mint_token(self.folder / "suite", subject="tester", roles=["admin"])
        return vafa.connect(addresses, token=token or admin)

    def metrics(self, service: str) -> str:
        """Return what a service tells Prometheus."""
        port = next(
            str(container["ports"][1]["containerPort"])
            for name, _, container in self.manifests.service_pods()
            if name == service
        )
        with urllib.request.urlopen(f"http://{self._local(port)}/metrics") as answer:
            body: bytes = answer.read()
        return body.decode()

    def files(self, workload: Manifest) -> Path:
        """Write the files of the pods of a workload, and return the folder that is their root."""
        name: str = workload["metadata"]["name"]
        root = self.folder / name
        pod = pod_of(workload)
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            for mount in container["volumeMounts"]:
                volume = next(one for one in pod["volumes"] if one["name"] == mount["name"])
                place = root / mount["mountPath"].removeprefix("/")
                place.mkdir(parents=True, exist_ok=True)
                for name, text in self._content(pod, volume).items():
                    # As in the pod, but for where its root is.
                    (place / name).write_text(
                        re.sub(r"/(etc|run)/vafa/", rf"{root}/\1/vafa/", text)
                    )
        return root

    def _content(self, pod: Manifest, volume: Manifest) -> dict[str, str]:
        content: dict[str, str] = {}
        for source in volume.get("projected", {}).get("sources", [volume]):
            if "configMap" in source:
                content |= self._config_map(source["configMap"]["name"])
            elif "secret" in source:
                content |= self._external[source["secret"]["secretName"]]
            elif "serviceAccountToken" in source:
                account, asked = pod["serviceAccountName"], source["serviceAccountToken"]
                own = self.service_account_token(account)
                content[asked["path"]] = own if "audience" in asked else f"cluster-token-{account}"
        return content

    def _config_map(self, name: str) -> Mapping[str, str]:
        made = self.manifests.find("ConfigMap", name)
        if made is None:
            return self._external[name]
        data: dict[str, str] = dict(made["data"])
        if name == "access":
            cluster = self._issuers["issuers"][0] | {"jwks_url": self._api.url}
            data["issuers.json"] = json.dumps(self._issuers | {"issuers": [cluster]})
        return data

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-P", "-m", *arguments]

    def _environment(self, workload: Manifest, container: Manifest) -> dict[str, str]:
        root = self.files(workload)
        given = {name: self._here(root, v) for name, v in environment_of(container).items()}
        bare = {name: v for name, v in os.environ.items() if not name.startswith("VAFA_")}
        return bare | given

    def _here(self, root: Path, value: str) -> str:
        """Return a value of the environment with the paths and ports of this machine."""
        if value.startswith(("/", "sqlite:////")):
            scheme, slash, path = value.rpartition("sqlite:///")
            return f"{scheme}{slash}{root}{path}"
        if LISTEN.fullmatch(value):
            return self._local(value.partition(":")[2])
        name, _, port = value.partition(":")
        return self._local(port) if self.manifests.find("Service", name) else value

    def _local(self, port: str) -> str:
        if port not in self.ports:
            self.ports[port] = f"127.0.0.1:{free_port()}"
        return self.ports[port]
