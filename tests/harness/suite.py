"""The services as real processes, on whatever database the test chooses."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import vafa
from services.chassis.contract import SERVICES
from services.chassis.migrate import migrate
from services.command import keys
from tests.harness.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 30
# Roles of the tests' own principals, beside those of the shipped file.
ROLE_OF = dict.fromkeys(SERVICES, "service")


class RunningSuite:
    """Services that run; `name` is a service, or a further replica such as `loyalty-2`.

    The databases are made and migrated at once; `start` starts what is wanted.
    """

    def __init__(self, folder: Path, database_urls: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.addresses: dict[str, str] = {}
        self.metrics_addresses: dict[str, str] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        keys.ensure_signing_key(folder)
        self.database_urls = database_urls or {
            service: f"sqlite:///{folder}/{service}.db" for service in SERVICES
        }
        for service, url in self.database_urls.items():
            migrate(service, url)

    def token(self, *roles: str, subject: str = "tester") -> str:
        """Return a fresh token with these roles, `admin` if none is given."""
        return keys.mint_token(self.folder, subject=subject, roles=roles or ("admin",))

    def start(self, *names: str, **settings: str) -> None:
        """Start services, all at once, and wait until they are ready.

        Settings are further variables of their environment without the prefix, such as
        `drain_delay_seconds="1"`.
        """
        names = names or SERVICES
        for name in names:
            self._start(name, settings)
        for name in names:
            self.wait_ready(name)

    def _start(self, name: str, settings: Mapping[str, str]) -> None:
        service = name.partition("-")[0]
        for addresses in (self.addresses, self.metrics_addresses):
            addresses.setdefault(name, f"127.0.0.1:{free_port()}")
        self._renew_token(service)
        values = {
            "database_url": self.database_urls[service],
            "listen": self.addresses[name],
            "metrics_listen": self.metrics_addresses[name],
            "jwks_file": str(self.folder / "keys" / "jwks.json"),
            "signing_key_file": str(self.folder / "keys" / "signing.pem"),
            "token_file": str(self._token_file(service)),
            "contacts_address": self._address("contacts"),
            "loyalty_address": self._address("loyalty"),
            "feedback_address": self._address("feedback"),
            "drain_delay_seconds": "0",
            "stop_grace_seconds": "2",
            **settings,
        }
        prefix = f"VAFA_{service.upper()}_"
        environment = {prefix + key.upper(): value for key, value in values.items()}
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"services.{service}"],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )

    def _token_file(self, service: str) -> Path:
        return self.folder / "tokens" / f"{service}.jwt"

    def _renew_token(self, service: str) -> None:
        own = keys.mint_token(self.folder, subject=service, roles=[ROLE_OF[service]])
        keys.write_token(self._token_file(service), own)

    def _address(self, service: str) -> str:
        return self.addresses.setdefault(service, f"127.0.0.1:{free_port()}")

    def wait_ready(self, name: str) -> None:
        """Wait until a service says that it is ready; fails with its log if it ends instead."""
        ends_at = time.monotonic() + READY_SECONDS
        while time.monotonic() < ends_at:
            if self._processes[name].poll() is not None:
                raise AssertionError(f"{name} ended:\n{self.log(name)[-3000:]}")
            if self.is_ready(name):
                return
            time.sleep(0.05)
        raise AssertionError(f"{name} is not ready:\n{self.log(name)[-3000:]}")

    def is_ready(self, name: str, check: str = "readiness") -> bool:
        """Whether a service answers a health check with SERVING."""
        with grpc.insecure_channel(self.addresses[name]) as channel:
            request = health_pb2.HealthCheckRequest(service=check)
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=1)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def log(self, name: str) -> str:
        """Return what a service has logged."""
        return (self.folder / f"{name}.log").read_text()

    def running(self) -> list[str]:
        """Return the names of what was started and not stopped."""
        return [name for name, one in self._processes.items() if one.poll() is None]

    def pid(self, name: str) -> int:
        """Return the process id of a service."""
        return self._processes[name].pid

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a service."""
        self._processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        """Kill a service as a crash would."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def stop(self, *names: str) -> None:
        """Stop services, all if none is named; fails if one that runs ends badly."""
        stopped = {name: self._processes.pop(name, None) for name in names or [*self._processes]}
        running = {name: one for name, one in stopped.items() if one and one.poll() is None}
        for process in running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        codes = {name: process.wait(timeout=15) for name, process in running.items()}
        badly = [name for name, code in codes.items() if code]
        assert not badly, f"{badly}: {codes}\n{self.log(badly[0])[-3000:]}"

    def client(self, *roles: str, subject: str = "tester", replica: str = "") -> vafa.Suite:
        """Return a blocking client; `replica`, such as `loyalty-2`, stands for its service."""
        return vafa.connect(
            self._routes(replica), token=lambda: self.token(*roles, subject=subject)
        )

    def aio_client(self, *roles: str, subject: str = "tester", replica: str = "") -> vafa.aio.Suite:
        """Return an asyncio client."""
        return vafa.aio.connect(
            self._routes(replica), token=lambda: self.token(*roles, subject=subject)
        )

    def _routes(self, replica: str) -> dict[str, str]:
        # A token lives five minutes, and a suite that tests share may live longer.
        for service in self.database_urls:
            self._renew_token(service)
        routes = {name: self.addresses[name] for name in self.addresses if "-" not in name}
        if replica:
            routes[replica.partition("-")[0]] = self.addresses[replica]
        return routes
