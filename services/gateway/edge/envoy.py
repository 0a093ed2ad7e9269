"""How Envoy writes things down."""

from collections.abc import Sequence
from typing import Any

Config = dict[str, Any]

MANAGER = "envoy.filters.network.http_connection_manager"
MANAGER_TYPE = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def typed(type_: str, **fields: Any) -> Config:
    """Return a message of Envoy's that says of which type it is."""
    return {"@type": f"type.googleapis.com/{type_}", **fields}


def extension(name: str, type_: str, **fields: Any) -> Config:
    """Return an extension of Envoy's by its name, such as a filter, with its configuration."""
    return {"name": name, "typed_config": typed(type_, **fields)}


def seconds(value: float) -> str:
    """Return a duration."""
    return f"{value:g}s"


def socket(host: str, port: int) -> Config:
    """Return an address."""
    return {"socket_address": {"address": host, "port_value": port}}


def inline(text: str) -> Config:
    """Return text as a source of data."""
    return {"inline_string": text}


def router(**fields: Any) -> Config:
    """Return the last of all HTTP filters."""
    type_ = "envoy.extensions.filters.http.router.v3.Router"
    return extension("envoy.filters.http.router", type_, **fields)


def inner_listener(
    name: str, address: Config, routes: Sequence[Config], filters: Sequence[Config] = ()
) -> Config:
    """Return a listener that is not for callers, at an address or an internal one."""
    manager = extension(
        MANAGER,
        MANAGER_TYPE,
        stat_prefix=name,
        route_config={
            "name": name,
            "virtual_hosts": [{"name": name, "domains": ["*"], "routes": list(routes)}],
        },
        http_filters=[*filters, router()],
    )
    return {"name": name, **address, "filter_chains": [{"filters": [manager]}]}


def cluster(name: str, type_: str, connect_timeout_seconds: float, *addresses: Config) -> Config:
    """Return a cluster of addresses."""
    endpoints = [{"endpoint": {"address": address}} for address in addresses]
    return {
        "name": name,
        "type": type_,
        "connect_timeout": seconds(connect_timeout_seconds),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }
