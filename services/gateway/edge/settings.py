"""The settings of the edge: where it listens, where the services are, whose tokens it takes."""

import ipaddress
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, PositiveInt, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from services.chassis.settings import (
    TOKEN_AUDIENCE,
    TOKEN_ISSUER,
    OptionalPath,
    ProcessSettings,
)


def host_and_port(address: str) -> tuple[str, int]:
    """Return the parts of `host:port`; ValueError if it is not that. IPv6 stands in brackets."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError(f"{address!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_ip(host: str) -> bool:
    """Whether a host is an IP address, and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _listens(address: str) -> str:
    if not is_ip(host_and_port(address)[0]):
        raise ValueError(f"{address!r} has no IP address to listen on")
    return address


def _on_loopback(address: str) -> str:
    if not ipaddress.ip_address(host_and_port(_listens(address))[0]).is_loopback:
        raise ValueError("the admin interface listens on a loopback address and nowhere else")
    return address


def _split(addresses: object) -> object:
    return tuple(addresses.split(",")) if isinstance(addresses, str) else addresses


def _addresses(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """A name stands for all its replicas; IP addresses are listed."""
    hosts = [host_and_port(address)[0] for address in addresses]
    if not hosts or (len(hosts) > 1 and not all(map(is_ip, hosts))):
        raise ValueError("give one name with a port, or IP addresses with ports")
    return addresses


Listen = Annotated[str, AfterValidator(_listens)]
Addresses = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_addresses)
]


class EdgeSettings(ProcessSettings):
    """Read from `VAFA_EDGE_*`. What an operator tunes stands in the values file instead."""

    model_config = SettingsConfigDict(env_prefix="VAFA_EDGE_", extra="ignore", frozen=True)

    listen: Listen = "127.0.0.1:8080"
    # Serves `/stats/prometheus` and nothing else.
    metrics_listen: Listen = "127.0.0.1:8180"
    admin_listen: Annotated[str, AfterValidator(_on_loopback)] = "127.0.0.1:8280"
    # Either `name:port`, resolved to all replicas, or `ip:port,ip:port`.
    contacts_addresses: Addresses = ("127.0.0.1:7101",)
    loyalty_addresses: Addresses = ("127.0.0.1:7102",)
    feedback_addresses: Addresses = ("127.0.0.1:7103",)
    gateway_addresses: Addresses = ("127.0.0.1:7100",)
    # As the services have them; an empty issuer stands for none of the suite's own.
    token_issuer: str = TOKEN_ISSUER
    token_audience: str = TOKEN_AUDIENCE
    jwks_file: Path = Path(".vafa/keys/jwks.json")
    issuers_file: OptionalPath = None
    # Both or none; without them the edge speaks plain text.
    tls_certificate_file: OptionalPath = None
    tls_key_file: OptionalPath = None
    # Where the configuration is put for Envoy.
    configuration_file: Path = Path(".vafa/edge.json")
    values_file: Path = Path(__file__).parent / "values.toml"
    worker_threads: PositiveInt = 1
    log_level: str = "warning"

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file go together")
        return self

    def addresses(self, service: str) -> tuple[str, ...]:
        """Return where the replicas of a service are."""
        found: tuple[str, ...] = getattr(self, f"{service}_addresses")
        return found
