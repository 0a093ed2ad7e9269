"""Where calls go: a cluster for each service, its replicas watched and the failing left out."""

from services.chassis.contract import SERVICES
from services.gateway.edge.envoy import HTTP_OPTIONS, Config, cluster, seconds, socket, typed
from services.gateway.edge.settings import EdgeSettings, host_and_port, is_ip
from services.gateway.edge.values import Services, Values

ADMIN = "admin"


def clusters(settings: EdgeSettings, values: Values) -> list[Config]:
    """Return the clusters of the services, and that of Envoy's own admin interface."""
    of_services = [
        _cluster(service, settings.addresses(service), values.services) for service in SERVICES
    ]
    return [*of_services, _admin(settings)]


def _cluster(service: str, addresses: tuple[str, ...], values: Services) -> Config:
    parts = [host_and_port(address) for address in addresses]
    type_ = "STATIC" if is_ip(parts[0][0]) else "STRICT_DNS"
    sockets = [socket(host, port) for host, port in parts]
    return {
        **cluster(service, type_, values.connect_timeout_seconds, *sockets),
        **(_resolution(values) if type_ == "STRICT_DNS" else {}),
        "lb_policy": "ROUND_ROBIN",
        "typed_extension_protocol_options": {
            HTTP_OPTIONS: typed(
                HTTP_OPTIONS,
                explicit_http_config={
                    "http2_protocol_options": {
                        "initial_stream_window_size": 1_048_576,
                        "initial_connection_window_size": 16_777_216,
                        "connection_keepalive": {"interval": "30s", "timeout": "10s"},
                    }
                },
            )
        },
        # With fewer healthy replicas than this all are tried: where most are slow to say how they
        # are, the few others would not bear the calls of all.
        "common_lb_config": {"healthy_panic_threshold": {"value": 50}},
        "health_checks": [_health_check(values)],
        "ignore_health_on_host_removal": True,
        # By what breaks or stays silent. What a replica answers does not count: callers bring it
        # about, with a deadline that cannot be kept, and would put out one replica after another.
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": values.failures_until_ejected,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_local_origin_success_rate": 0,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "interval": "1s",
            "base_ejection_time": seconds(values.ejected_seconds),
            "max_ejection_time": seconds(10 * values.ejected_seconds),
            "max_ejection_percent": values.max_ejected_percent,
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": values.max_connections,
                    "max_pending_requests": values.max_waiting_requests,
                    "max_requests": values.max_requests,
                    "max_retries": values.max_retries,
                }
            ]
        },
    }


def _resolution(values: Services) -> Config:
    return {
        "dns_lookup_family": "ALL",
        "dns_refresh_rate": seconds(values.dns_refresh_seconds),
        "dns_failure_refresh_rate": {"base_interval": "1s", "max_interval": "5s"},
    }


def _health_check(values: Services) -> Config:
    interval = seconds(values.health_check_interval_seconds)
    return {
        "timeout": seconds(values.health_check_timeout_seconds),
        "interval": interval,
        "no_traffic_interval": interval,
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "grpc_health_check": {"service_name": "readiness"},
    }


def _admin(settings: EdgeSettings) -> Config:
    return cluster(ADMIN, "STATIC", 1.0, socket(*host_and_port(settings.admin_listen)))
