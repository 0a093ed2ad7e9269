"""Which call goes where: routes by gRPC method, and by path for JSON, made from the contract."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from services.chassis.contract import SERVICES
from services.gateway.edge.contract import EdgeCall, calls
from services.gateway.edge.envoy import Config, seconds
from services.gateway.edge.filters import (
    ANSWERED_HERE,
    WITHOUT_METADATA,
    cors_policy,
    for_anybody,
    whole_body,
)
from services.gateway.edge.pages import page_routes
from services.gateway.edge.paths import of_service, path_match, shape, specificity
from services.gateway.edge.refusals import METHOD_NOT_ALLOWED, METHOD_UNKNOWN, SERVICE_UNNAMED
from services.gateway.edge.values import Values

# The header by which a call names its service where every service serves the method.
SERVICE_HEADER = "vafa-service"
# Retried are only requests of which no byte can have reached the service.
NEVER_ARRIVED = "connect-failure,refused-stream,reset-before-request"
# By which systems elsewhere tell who calls. Services believe none of them; nobody else should.
IDENTITY_HEADERS = (
    "x-principal",
    "x-user",
    "x-subject",
    "x-roles",
    "x-forwarded-user",
    "x-forwarded-groups",
    "x-auth-request-user",
    "x-jwt-payload",
    "x-envoy-peer-metadata",
    "vafa-principal",
    "vafa-roles",
)
WITH_BODY = frozenset({"PATCH", "POST", "PUT"})
GRPC = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
POST = {"name": ":method", "string_match": {"exact": "POST"}}


def virtual_host(values: Values) -> Config:
    """Return all that the edge serves, whatever host it is asked as."""
    served = calls()
    return {
        "name": "vafa",
        "domains": ["*"],
        "routes": [
            _preflight(),
            *(route for call in served for route in _grpc_routes(call, values)),
            *_page_routes(),
            *_json_routes(served, values),
            _refusal("unknown", {"prefix": "/"}, METHOD_UNKNOWN.status),
        ],
        "request_headers_to_remove": list(IDENTITY_HEADERS),
        "typed_per_filter_config": cors_policy(values.browsers),
    }


def _preflight() -> Config:
    """Route the question of a browser whether a page may call, which is answered on the way. One
    that names no page or no method is none, and would go on to the service.
    """
    named = {"safe_regex": {"regex": ".+"}}
    headers = [
        {"name": ":method", "string_match": {"exact": "OPTIONS"}},
        {"name": "origin", "string_match": named},
        {"name": "access-control-request-method", "string_match": named},
    ]
    return {
        "name": "preflight",
        "match": {"prefix": "/", "headers": headers},
        "route": {"cluster": SERVICES[0]},
    }


def _page_routes() -> Iterator[Config]:
    for route in page_routes():
        yield route
        yield _not_allowed({"path": route["match"]["path"]}, ["GET"])


def _grpc_routes(call: EdgeCall, values: Values) -> Iterator[Config]:
    # A service resets any other verb, which would look as if its replica failed.
    match = {"path": call.method.path, "headers": [POST, GRPC]}
    if not call.shared:
        yield _forward(call, match, call.services[0], values)
        return
    for service in call.services:
        yield _forward(call, _naming(service, match), service, values)
    yield _refusal("service_unnamed", match, SERVICE_UNNAMED.status)


def _naming(service: str, match: Config) -> Config:
    named = {"name": SERVICE_HEADER, "string_match": {"exact": service}}
    return {**match, "headers": [*match.get("headers", ()), named]}


def _json_routes(served: tuple[EdgeCall, ...], values: Values) -> Iterator[Config]:
    """Route each path by its HTTP method; for the methods it does not have, say which it has."""
    mapped = [
        (shape(mapping.template), mapping.verb, call)
        for call in served
        for mapping in call.mappings
    ]
    mapped.sort(key=lambda one: (specificity(one[0]), one[0]))
    for path, group in groupby(mapped, key=lambda one: one[0]):
        verbs = []
        for _, verb, call in group:
            verbs.append(verb)
            yield from _json_routes_of(call, path, verb, values)
        yield _not_allowed(path_match(path), verbs)


def _json_routes_of(call: EdgeCall, path: str, verb: str, values: Values) -> Iterator[Config]:
    is_verb = {"name": ":method", "string_match": {"exact": verb}}
    # What says that it is gRPC would reach the service as it is, on a path that it does not have.
    no_grpc = {**GRPC, "invert_match": True, "treat_missing_header_as_empty": True}
    asked = [is_verb, no_grpc]
    match = {**path_match(path), "headers": asked}
    body = whole_body(values.requests.max_json_request_bytes) if verb in WITH_BODY else {}

    def forward(match: Config, service: str) -> Config:
        route = _forward(call, match, service, values)
        return {
            **route,
            "typed_per_filter_config": {
                **body,
                **WITHOUT_METADATA,
                **route.get("typed_per_filter_config", {}),
            },
        }

    if not call.shared:
        yield forward(match, call.services[0])
        return
    for service in call.services:
        own = of_service(path, service)
        if own == path:
            yield forward(_naming(service, match), service)
        else:
            yield forward({**path_match(own), "headers": asked}, service)
    if "*" in path:
        # A feed or an operation of no service: any of them answers that there is none.
        yield forward(match, SERVICES[0])
    else:
        yield _refusal("service_unnamed", match, SERVICE_UNNAMED.status)


def _forward(call: EdgeCall, match: Config, service: str, values: Values) -> Config:
    method = call.method
    action: Config = {
        "cluster": service,
        "timeout": seconds(method.deadline_seconds + values.requests.grace_seconds),
    }
    if method.descriptor.server_streaming:
        action["idle_timeout"] = seconds(values.connections.stream_idle_timeout_seconds)
    if not method.writes:
        action["retry_policy"] = {
            "retry_on": NEVER_ARRIVED,
            "num_retries": values.services.retries_of_a_read,
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts"
                        ".v3.PreviousHostsPredicate"
                    },
                }
            ],
            "host_selection_retry_max_attempts": 3,
        }
    route: Config = {"name": method.path[1:], "match": match, "route": action}
    if method.public:
        route["typed_per_filter_config"] = for_anybody(values)
    return route


def _not_allowed(match: Config, verbs: Iterable[str]) -> Config:
    """Refuse the HTTP methods of a path that it does not have, and say which it has."""
    allow = {"header": {"key": "allow", "value": ", ".join(sorted(verbs))}}
    refusal = _refusal("method_not_allowed", match, METHOD_NOT_ALLOWED.status)
    return refusal | {"response_headers_to_add": [allow]}


def _refusal(name: str, match: Config, status: int) -> Config:
    return {
        "name": name,
        "match": match,
        "direct_response": {"status": status},
        "typed_per_filter_config": ANSWERED_HERE,
    }
