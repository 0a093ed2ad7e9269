"""The whole configuration of Envoy."""

from services.gateway.edge.clusters import clusters
from services.gateway.edge.envoy import Config, extension, socket
from services.gateway.edge.issuers import trusted_issuers
from services.gateway.edge.keys import internal_listeners, keys_clusters
from services.gateway.edge.listeners import listeners
from services.gateway.edge.settings import EdgeSettings, host_and_port
from services.gateway.edge.values import Connections, Values

# Envoy's own words, in the shape of the log of calls.
LOG_LINE = {"ts": "%Y-%m-%dT%T.%eZ", "level": "%l", "process": "edge", "event": "%j"}


def bootstrap(settings: EdgeSettings, values: Values) -> Config:
    """Return what Envoy is to be started with; raises OSError or ValueError for a file of
    issuers that cannot be read.
    """
    issuers = trusted_issuers(settings)
    return {
        "node": {"id": "edge", "cluster": "edge"},
        "admin": {"address": socket(*host_and_port(settings.admin_listen))},
        "static_resources": {
            "listeners": listeners(settings, values, issuers),
            "clusters": [*clusters(settings, values), *keys_clusters(settings, issuers)],
        },
        "bootstrap_extensions": [internal_listeners()],
        "overload_manager": {"resource_monitors": [_connections(values.connections)]},
        "layered_runtime": {"layers": [{"name": "edge", "static_layer": _guards(values)}]},
        "application_log_config": {"log_format": {"json_format": LOG_LINE}},
    }


def _connections(values: Connections) -> Config:
    return extension(
        "envoy.resource_monitors.global_downstream_max_connections",
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=values.max_connections,
    )


def _guards(values: Values) -> Config:
    return {
        "overload.premature_reset_total_stream_count": values.connections.premature_resets_max,
        "overload.premature_reset_min_stream_lifetime_seconds": 1,
    }
