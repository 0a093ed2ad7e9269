"""What a request passes through at the edge, in this order: the page of health, pages of other
origins, gRPC-Web, headers, the token, the rate, the size of JSON, JSON, the route.
"""

import base64
from collections.abc import Sequence

from services.chassis.contract import SERVICES
from services.gateway.edge.contract import grpc_services
from services.gateway.edge.envoy import Config, extension, router, seconds, typed
from services.gateway.edge.issuers import CLAIMS, Trusted, provider
from services.gateway.edge.values import Browsers, Callers, Values
from vafa import descriptor_set

BODY = "envoy.filters.http.buffer"
CORS = "envoy.filters.http.cors"
GRPC_WEB = "envoy.filters.http.grpc_web"
HEADERS = "envoy.filters.http.header_mutation"
HEALTH = "envoy.filters.http.health_check"
JSON = "envoy.filters.http.grpc_json_transcoder"
RATE = "envoy.filters.http.local_ratelimit"
TOKEN = "envoy.filters.http.jwt_authn"  # noqa: S105
BODY_TYPE = "envoy.extensions.filters.http.buffer.v3.Buffer"
LOCAL_RATE = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
HEADERS_TYPE = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
# What gRPC would read as its own in a header of JSON, and refuse as INTERNAL if it cannot: its
# settings, base64, and names that its metadata cannot have.
_METADATA = "grpc-.*|.*-bin|.*[^:a-z0-9_.-].*"

_OFF = typed("envoy.config.route.v3.FilterConfig", disabled=True)
# For what is called with JSON: these headers end here.
WITHOUT_METADATA: Config = {
    HEADERS: typed(
        f"{HEADERS_TYPE}PerRoute",
        mutations={
            "request_mutations": [
                {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": _METADATA}}}}
            ]
        },
    )
}
# For what the edge answers by itself.
ANSWERED_HERE: Config = {TOKEN: _OFF, JSON: _OFF}


def http_filters(issuers: Sequence[Trusted], values: Values) -> list[Config]:
    """Return the chain of filters."""
    return [
        _health(),
        extension(CORS, "envoy.extensions.filters.http.cors.v3.Cors"),
        extension(GRPC_WEB, "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"),
        extension(HEADERS, HEADERS_TYPE),
        _token(issuers),
        _rate_of_callers(values.callers),
        _body(values),
        _json(values),
        router(suppress_envoy_headers=True),
    ]


def for_anybody(values: Values) -> Config:
    """Return what is different for a method that needs no token: a token that comes along is
    not looked at, the remote address is counted, and the service sees only whole requests, and
    small ones: strangers take nothing from it by being slow.
    """
    return {
        TOKEN: _OFF,
        RATE: _rate_of_addresses(values.callers),
        **whole_body(values.requests.max_public_request_bytes),
    }


def whole_body(max_bytes: int) -> Config:
    """Return what is different for a method whose requests are waited for until they are whole."""
    return {BODY: typed(f"{BODY_TYPE}PerRoute", buffer={"max_request_bytes": max_bytes})}


def cors_policy(values: Browsers) -> Config:
    """Return which pages of other origins may call, with what, and what they may see."""
    return {
        CORS: typed(
            "envoy.extensions.filters.http.cors.v3.CorsPolicy",
            allow_origin_string_match=[
                {"safe_regex": {"regex": origin}} for origin in values.allowed_origins
            ],
            allow_methods="GET, POST, PATCH, DELETE, OPTIONS",
            allow_headers="authorization, content-type, grpc-timeout, traceparent, tracestate,"
            " vafa-service, x-grpc-web, x-user-agent",
            expose_headers="grpc-status, grpc-message, grpc-status-details-bin,"
            " idempotency-replayed, request-id, x-request-id, retry-after",
            max_age=str(values.preflight_max_age_seconds),
            # No service has a use for the question of a page that is not trusted.
            forward_not_matching_preflights=False,
        )
    }


def _health() -> Config:
    return extension(
        HEALTH,
        "envoy.extensions.filters.http.health_check.v3.HealthCheck",
        pass_through_mode=False,
        headers=[{"name": ":path", "string_match": {"exact": "/healthz"}}],
        cluster_min_healthy_percentages={service: {"value": 1} for service in SERVICES},
    )


def _token(issuers: Sequence[Trusted]) -> Config:
    """Ask for a token of one of the issuers, wherever a route does not say otherwise."""
    one_of = [{"provider_name": one.name} for one in issuers]
    needed = one_of[0] if len(one_of) == 1 else {"requires_any": {"requirements": one_of}}
    return extension(
        TOKEN,
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        providers={one.name: provider(one) for one in issuers},
        rules=[{"match": {"prefix": "/"}, "requires": needed}],
    )


def _bucket(requests_per_second: int) -> Config:
    """Return a bucket that holds the requests of one second."""
    # Filled by tenths, so that a caller that is over waits a short while.
    fill = max(requests_per_second // 10, 1)
    return {
        "max_tokens": requests_per_second,
        "tokens_per_fill": fill,
        "fill_interval": seconds(fill / requests_per_second),
    }


def _limits(values: Callers) -> Config:
    everything = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "stat_prefix": "edge",
        "filter_enabled": everything,
        "filter_enforced": everything,
        "max_dynamic_descriptors": values.remembered,
        # By default whoever has a bucket of its own takes from the one of all the others too.
        "always_consume_default_token_bucket": False,
        "rate_limited_as_resource_exhausted": True,
    }


def _rate_of_callers(values: Callers) -> Config:
    """Count each caller; what has no token is counted together, unless its route says more."""
    return extension(
        RATE,
        LOCAL_RATE,
        **_limits(values),
        token_bucket=_bucket(values.requests_per_second_answered_here),
        # Two issuers may know two callers by one subject.
        rate_limits=[{"actions": [_claim("iss"), _claim("sub")]}],
        descriptors=[
            {
                "entries": [{"key": "iss"}, {"key": "sub"}],
                "token_bucket": _bucket(values.requests_per_second),
            }
        ],
    )


def _rate_of_addresses(values: Callers) -> Config:
    return typed(
        LOCAL_RATE,
        **_limits(values),
        token_bucket=_bucket(values.requests_per_second_per_address),
        rate_limits=[{"actions": [{"remote_address": {}}]}],
        descriptors=[
            {
                "entries": [{"key": "remote_address"}],
                "token_bucket": _bucket(values.requests_per_second_per_address),
            }
        ],
    )


def _claim(name: str) -> Config:
    path = [{"key": CLAIMS}, {"key": name}]
    return {
        "metadata": {
            "descriptor_key": name,
            "metadata_key": {"key": TOKEN, "path": path},
            "source": "DYNAMIC",
        }
    }


def _body(values: Values) -> Config:
    """Wait for the whole body of a JSON request, which the next filter would else turn into a
    message of any size. Calls by gRPC are not held up, but for those of strangers.
    """
    body = {"max_request_bytes": values.requests.max_json_request_bytes}
    return {**extension(BODY, BODY_TYPE, **body), "disabled": True}


def _json(values: Values) -> Config:
    return extension(
        JSON,
        "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor_bin=base64.b64encode(descriptor_set().SerializeToString()).decode(),
        services=list(grpc_services()),
        match_incoming_request_route=True,
        convert_grpc_status=True,
        # As browsers and most libraries write a space.
        query_param_unescape_plus=True,
        # One JSON object a line: whoever reads a stream can read each as it comes.
        print_options={"stream_newline_delimited": True},
        request_validation_options={
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
        max_request_body_size=values.requests.max_json_request_bytes,
        max_response_body_size=values.requests.max_json_response_bytes,
    )
