"""Envoy as it is configured for users, in front of a suite of the tests."""

import http.client
import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import vafa
from services.chassis.contract import SERVICES
from tests.harness.ports import free_port
from tests.harness.suite import ROOT, RunningSuite

READY_SECONDS = 20
SHIPPED_VALUES = ROOT / "services" / "gateway" / "edge" / "values.toml"


class Edge:
    """Envoy before all replicas of a suite that it has by now; a context manager.

    `values` are numbers of the values file that differ from the shipped ones, by section;
    `settings` are further variables of its environment without the prefix `VAFA_EDGE_`.
    """

    def __init__(
        self,
        suite: RunningSuite,
        values: Mapping[str, Mapping[str, Any]] | None = None,
        **settings: str,
    ) -> None:
        self.suite = suite
        self.address, self.metrics_address, self.admin_address = (
            f"127.0.0.1:{free_port()}" for _ in range(3)
        )
        self.folder = suite.folder / f"edge-{self.address.rpartition(':')[2]}"
        self.folder.mkdir()
        self._log = self.folder / "log"
        self._settings = {
            "listen": self.address,
            "metrics_listen": self.metrics_address,
            "admin_listen": self.admin_address,
            "jwks_file": str(suite.folder / "keys" / "jwks.json"),
            **{f"{service}_addresses": _replicas(suite, service) for service in SERVICES},
            "configuration_file": str(self.folder / "edge.json"),
            "values_file": str(_values_file(self.folder, values or {})),
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it serves, such as `http://127.0.0.1:8080`."""
        return f"http://{self.address}"

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which it runs."""
        return {f"VAFA_EDGE_{name.upper()}": value for name, value in self._settings.items()}

    def start(self) -> None:
        """Start it and wait until the services that run are healthy to it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.gateway.edge"],
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        ends_at = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            assert process.poll() is None, f"the edge ended:\n{self.log()[-3000:]}"
            assert time.monotonic() < ends_at, f"the edge is not ready:\n{self.log()[-3000:]}"
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        """Whether it serves, and finds each replica as healthy as the replica says it is."""
        try:
            health = self._health()
        except OSError:
            return False
        running = {name: self.suite.addresses[name] for name in self.suite.running()}
        return all(
            health[address]
            for name, address in running.items()
            if address in health and self.suite.is_ready(name)
        )

    def _health(self) -> dict[str, bool]:
        """Return of each replica whether Envoy sends calls to it."""
        found = self.admin("GET", "/clusters?format=json")
        return {
            "{address}:{port_value}".format(**host["address"]["socket_address"]): set(
                host["health_status"]
            )
            == {"eds_health_status"}
            for cluster in found["cluster_statuses"]
            if cluster["name"] in SERVICES
            for host in cluster.get("host_statuses", ())
        }

    def wait_healthy(self, address: str, *, healthy: bool = True) -> None:
        """Wait until Envoy sends calls to a replica, or sends it none any more."""
        ends_at = time.monotonic() + READY_SECONDS
        while self._health()[address] is not healthy:
            assert time.monotonic() < ends_at, f"not in time: {address} healthy: {healthy}"
            time.sleep(0.05)

    def admin(self, verb: str, path: str) -> Any:
        """Ask Envoy's admin interface; a JSON answer is read."""
        connection = http.client.HTTPConnection(self.admin_address, timeout=5)
        try:
            connection.request(verb, path)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        assert answer.status == http.client.OK, (answer.status, body)
        is_json = answer.getheader("content-type") == "application/json"
        return json.loads(body) if is_json else body.decode()

    def client(self, *roles: str, subject: str = "tester") -> vafa.Suite:
        """Return a blocking client of the suite through the edge."""
        token = self.suite.token
        return vafa.connect(self.address, token=lambda: token(*roles, subject=subject))

    def aio_client(self, *roles: str, subject: str = "tester") -> vafa.aio.Suite:
        """Return an asyncio client of the suite through the edge."""
        token = self.suite.token
        return vafa.aio.connect(self.address, token=lambda: token(*roles, subject=subject))

    def pid(self) -> int:
        """Return the process id of Envoy."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Return what it has logged."""
        return self._log.read_text()

    def stop(self) -> None:
        """Stop it; fails if it ends badly."""
        if self._process is not None:
            self._process.terminate()
            code = self._process.wait(timeout=10)
            self._process = None
            assert code == 0, f"{code}\n{self.log()[-3000:]}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()


def _replicas(suite: RunningSuite, service: str) -> str:
    """Return the addresses of the replicas of a service; of one that there is not, a free one."""
    names = [name for name in suite.addresses if name.partition("-")[0] == service]
    return ",".join(suite.addresses[name] for name in names) or f"127.0.0.1:{free_port()}"


def _values_file(folder: Path, changes: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write the shipped values with some changed."""
    values = tomllib.loads(SHIPPED_VALUES.read_text())
    for section, entries in changes.items():
        assert values[section].keys() >= entries.keys(), (section, entries)
        values[section].update(entries)
    # Numbers, strings and lists of them are written in TOML as in JSON.
    lines = [
        line
        for section, entries in values.items()
        for line in (
            f"[{section}]",
            *(f"{key} = {json.dumps(value)}" for key, value in entries.items()),
        )
    ]
    file = folder / "values.toml"
    file.write_text("\n".join(lines))
    return file
