"""Where the processes of a suite on one machine run, and how others find them."""

import asyncio
import json
import os
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.chassis.contract import SERVICES
from services.command.data_directory import DataDirectoryInUse, supervised, write_private_file
from services.command.keys import withdraw_ended_keys
from services.command.migrations import Databases
from services.command.supervisor import ProcessSpec
from services.command.token_files import service_token_file, write_tokens

HOST = "127.0.0.1"
PORT_OFFSETS = {"gateway": 0, "contacts": 1, "loyalty": 2, "feedback": 3}
METRICS_OFFSET = 100
ADMIN_OFFSET = 200
PROBE_SECONDS = 1.0


@dataclass(frozen=True)
class Layout:
    """Where the suite runs: its directory, its databases and its ports."""

    directory: Path
    databases: Databases
    base_port: int
    edge_port: int

    def address(self, service: str) -> str:
        """Return where a service serves gRPC."""
        return f"{HOST}:{self.base_port + PORT_OFFSETS[service]}"

    def metrics_address(self, service: str) -> str:
        """Return where a service serves its metrics over HTTP."""
        return f"{HOST}:{self.base_port + METRICS_OFFSET + PORT_OFFSETS[service]}"

    def spec(self, service: str) -> ProcessSpec:
        """Return the process of a service."""
        address, metrics_address = self.address(service), self.metrics_address(service)
        settings = {
            "database_url": self.databases.urls[service],
            "listen": address,
            "metrics_listen": metrics_address,
            "jwks_file": str(self.directory / "keys" / "jwks.json"),
            "token_file": str(service_token_file(self.directory, service)),
            "contacts_address": self.address("contacts"),
            "loyalty_address": self.address("loyalty"),
            "feedback_address": self.address("feedback"),
            # Nobody balances load here, so nobody needs to be told before the end.
            "drain_delay_seconds": "0",
        }
        if service == "gateway":
            settings["signing_key_file"] = str(self.directory / "keys" / "signing.pem")
        prefix = f"VAFA_{service.upper()}_"
        return ProcessSpec(
            name=service,
            command=(sys.executable, "-P", "-m", f"services.{service}"),
            environment={prefix + name.upper(): value for name, value in settings.items()},
            listen=(address, metrics_address),
            ready=partial(_is_ready, address),
        )

    @property
    def edge_address(self) -> str:
        """Where the edge serves all services, by JSON, gRPC and gRPC-Web."""
        return f"{HOST}:{self.edge_port}"

    @property
    def edge_metrics_address(self) -> str:
        """Where the edge serves its metrics over HTTP."""
        return f"{HOST}:{self.edge_port + METRICS_OFFSET}"

    def edge_spec(self) -> ProcessSpec:
        """Return the process of the edge; it is ready once it finds every service ready."""
        admin_address = f"{HOST}:{self.edge_port + ADMIN_OFFSET}"
        settings = {
            "listen": self.edge_address,
            "metrics_listen": self.edge_metrics_address,
            "admin_listen": admin_address,
            "jwks_file": str(self.directory / "keys" / "jwks.json"),
            "configuration_file": str(self.directory / "edge.json"),
            **{f"{service}_addresses": self.address(service) for service in SERVICES},
        }
        return ProcessSpec(
            name="edge",
            command=(sys.executable, "-P", "-m", "services.gateway.edge"),
            environment={f"VAFA_EDGE_{name.upper()}": value for name, value in settings.items()},
            listen=(self.edge_address, self.edge_metrics_address, admin_address),
            ready=partial(asyncio.to_thread, _is_healthy, self.edge_address),
        )

    def announce(self) -> None:
        """Renew the token files, and the list of addresses by which clients find the suite; end
        the publication of keys whose tokens have ended.
        """
        withdraw_ended_keys(self.directory)
        write_tokens(self.directory, SERVICES)
        addresses = {service: self.address(service) for service in SERVICES}
        write_private_file(self._endpoints, json.dumps(addresses, indent=2).encode() + b"\n")

    def withdraw(self) -> None:
        """Remove the list of addresses, unless another suite has begun here meanwhile."""
        try:
            with supervised(self.directory):
                self._endpoints.unlink(missing_ok=True)
        except DataDirectoryInUse:
            return

    @property
    def _endpoints(self) -> Path:
        return self.directory / "endpoints.json"


def has_envoy() -> bool:
    """Whether the edge finds an Envoy, beside this Python or on the PATH."""
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join((beside, os.environ.get("PATH", os.defpath)))
    return shutil.which("envoy", path=path) is not None


async def _is_ready(address: str) -> bool:
    # A pool of its own: a shared one would remember that the service was not there yet.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        request = health_pb2.HealthCheckRequest(service="readiness")
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=PROBE_SECONDS)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _is_healthy(address: str) -> bool:
    connection = HTTPConnection(address, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
