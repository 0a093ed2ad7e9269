"""What the edge listens on: the one port for all callers, and that of its metrics."""

from collections.abc import Sequence

from services.gateway.edge.access_log import access_log
from services.gateway.edge.clusters import ADMIN
from services.gateway.edge.envoy import (
    MANAGER,
    MANAGER_TYPE,
    Config,
    extension,
    inner_listener,
    seconds,
    socket,
    typed,
)
from services.gateway.edge.filters import http_filters
from services.gateway.edge.issuers import Trusted
from services.gateway.edge.keys import keys_listeners
from services.gateway.edge.pages import largest_page_bytes
from services.gateway.edge.refusals import local_replies
from services.gateway.edge.routes import virtual_host
from services.gateway.edge.settings import EdgeSettings, host_and_port
from services.gateway.edge.values import Connections, Values

# No range at all would stand for the private ones.
NOWHERE = {"address_prefix": "255.255.255.255", "prefix_len": 32}


def listeners(settings: EdgeSettings, values: Values, issuers: Sequence[Trusted]) -> list[Config]:
    """Return the listeners, in the order in which they open: the keys are there before callers."""
    return [
        *keys_listeners(settings, issuers),
        _metrics(settings),
        _callers(settings, values, issuers),
    ]


def _callers(settings: EdgeSettings, values: Values, issuers: Sequence[Trusted]) -> Config:
    connections = values.connections
    chain: Config = {
        "filters": [_manager(values, issuers)],
        "transport_socket_connect_timeout": seconds(connections.first_bytes_timeout_seconds),
    }
    if settings.tls_certificate_file is not None:
        chain["transport_socket"] = _tls(settings)
    return {
        "name": "callers",
        "address": socket(*host_and_port(settings.listen)),
        "per_connection_buffer_limit_bytes": connections.buffer_bytes,
        # Waits for the first bytes, and so ends the connection of whoever sends none.
        "listener_filters": [
            extension(
                "envoy.filters.listener.http_inspector",
                "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
            )
        ],
        "listener_filters_timeout": seconds(connections.first_bytes_timeout_seconds),
        "filter_chains": [chain],
    }


def _manager(values: Values, issuers: Sequence[Trusted]) -> Config:
    requests = values.requests
    return extension(
        MANAGER,
        MANAGER_TYPE,
        stat_prefix="callers",
        codec_type="AUTO",
        server_name="vafa",
        route_config={
            "name": "callers",
            "virtual_hosts": [virtual_host(values)],
            "max_direct_response_body_size_bytes": largest_page_bytes(),
        },
        http_filters=http_filters(issuers, values),
        local_reply_config=local_replies(),
        access_log=access_log(),
        # Nobody is inside: headers by which a caller could steer Envoy are taken from all.
        use_remote_address=True,
        internal_address_config={"cidr_ranges": [NOWHERE]},
        xff_num_trusted_hops=values.callers.trusted_proxies,
        always_set_request_id_in_response=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        request_headers_timeout=seconds(requests.headers_timeout_seconds),
        request_timeout=seconds(requests.body_timeout_seconds),
        max_request_headers_kb=requests.max_headers_kibibytes,
        **_connections(values.connections, requests.max_headers_count),
    )


def _connections(values: Connections, max_headers_count: int) -> Config:
    return {
        "stream_idle_timeout": seconds(values.stream_idle_timeout_seconds),
        "common_http_protocol_options": {
            "idle_timeout": seconds(values.idle_timeout_seconds),
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": max_headers_count,
        },
        "http2_protocol_options": {
            "max_concurrent_streams": values.max_concurrent_streams,
            "initial_stream_window_size": values.stream_window_bytes,
            "initial_connection_window_size": values.connection_window_bytes,
        },
    }


def _tls(settings: EdgeSettings) -> Config:
    certificate = {
        "certificate_chain": {"filename": str(settings.tls_certificate_file)},
        "private_key": {"filename": str(settings.tls_key_file)},
    }
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [certificate],
            },
        ),
    }


def _metrics(settings: EdgeSettings) -> Config:
    route = {"match": {"path": "/stats/prometheus"}, "route": {"cluster": ADMIN}}
    address = {"address": socket(*host_and_port(settings.metrics_listen))}
    # Whoever watches sees most when there are too many callers.
    return inner_listener("metrics", address, [route]) | {"ignore_global_conn_limit": True}
