"""The configuration of the edge, as it is made from the contract, the values and the settings."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.chassis.contract import SERVICES, contract_methods
from services.gateway.edge.bootstrap import bootstrap
from services.gateway.edge.contract import EdgeCall, calls
from services.gateway.edge.filters import TOKEN
from services.gateway.edge.issuers import trusted_issuers
from services.gateway.edge.paths import of_service, path_match, shape
from services.gateway.edge.routes import NEVER_ARRIVED, virtual_host
from services.gateway.edge.settings import EdgeSettings
from services.gateway.edge.values import read_values
from tests.harness.edge import SHIPPED_VALUES

Route = dict[str, Any]
VALUES = read_values(SHIPPED_VALUES)
ROUTES: list[Route] = virtual_host(VALUES)["routes"]
CALLS = {call.method.path: call for call in calls()}
MAPPED = [(mapping, call) for call in calls() for mapping in call.mappings]
GRPC = {"content-type": "application/grpc"}
# What an id may hold, and a `:` and a verb that no method has.
SEGMENT = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(:[a-z]{1,3})?", fullmatch=True)


def first_route(verb: str, path: str, headers: Mapping[str, str]) -> Route:
    """Return the route that Envoy takes: the first of which everything fits."""
    found = {":method": verb, **headers}
    return next(route for route in ROUTES if fits(route["match"], path, found))


def fits(match: Route, path: str, headers: Mapping[str, str]) -> bool:
    if "prefix" in match:
        on_path = path.startswith(match["prefix"])
    elif "path" in match:
        on_path = path == match["path"]
    else:
        on_path = re.fullmatch(match["safe_regex"]["regex"], path) is not None
    return on_path and all(
        name_fits(one, headers.get(one["name"])) for one in match.get("headers", ())
    )


def name_fits(header: Route, value: str | None) -> bool:
    if value is None and header.get("treat_missing_header_as_empty"):
        value = ""
    if value is None or header.get("present_match"):
        return value is not None
    stated = header["string_match"]
    fits = value == stated["exact"] if "exact" in stated else value.startswith(stated["prefix"])
    return fits is not bool(header.get("invert_match"))


def cluster_of(route: Route) -> str | None:
    found: str | None = route.get("route", {}).get("cluster")
    return found


def by_grpc(call: EdgeCall, service: str) -> Route:
    return first_route("POST", call.method.path, {**GRPC, "vafa-service": service})


def test_every_method_of_the_contract_is_served() -> None:
    assert set(CALLS) == {method.path for method in contract_methods()}


@pytest.mark.parametrize("path", CALLS)
def test_every_method_goes_to_each_service_that_serves_it(path: str) -> None:
    call = CALLS[path]
    for service in call.services:
        route = by_grpc(call, service)
        assert (cluster_of(route), route["name"]) == (service, path[1:])
    if call.shared:
        assert call.services == SERVICES
        unnamed = first_route("POST", path, GRPC)
        assert unnamed["direct_response"]["status"] == 421
    # As JSON a method has paths of its own.
    by_its_name = first_route("POST", path, {"content-type": "application/json"})
    assert by_its_name["direct_response"]["status"] == 404


@pytest.mark.parametrize("path", CALLS)
def test_the_edge_waits_longer_than_the_deadline_and_sends_only_reads_again(path: str) -> None:
    call = CALLS[path]
    routes = [route for route in ROUTES if route["name"] == path[1:]]
    assert len(routes) >= len(call.services) * (1 + len(call.mappings))
    for route in routes:
        action = route["route"]
        waits_seconds = float(action["timeout"].removesuffix("s"))
        assert waits_seconds == call.method.deadline_seconds + VALUES.requests.grace_seconds
        assert ("retry_policy" in action) == (not call.method.writes)
        if not call.method.writes:
            assert action["retry_policy"]["retry_on"] == NEVER_ARRIVED


def test_only_public_methods_are_reached_without_a_token() -> None:
    open_to_all = {r["name"] for r in ROUTES if "route" in r and TOKEN in filters_of(r)}
    public = {call.method.path[1:] for call in calls() if call.method.public}
    assert public
    assert open_to_all == public


def filters_of(route: Route) -> Mapping[str, Any]:
    found: Mapping[str, Any] = route.get("typed_per_filter_config", {})
    return found


@given(st.data())
def test_every_json_path_goes_to_its_method(data: st.DataObject) -> None:
    mapping, call = data.draw(st.sampled_from(MAPPED))
    service = data.draw(st.sampled_from(call.services))
    own = of_service(shape(mapping.template), service) if call.shared else shape(mapping.template)
    # An id that ends in a verb of another method is a call of that method.
    path = re.sub(r"\*\*?", lambda _: data.draw(SEGMENT), own)
    route = first_route(mapping.verb, path, {"vafa-service": service})
    assert (route["name"], cluster_of(route)) == (call.method.path[1:], service)


@given(st.lists(st.text("abc/:*%.\u0627", max_size=6), max_size=4).map("/".join))
def test_a_path_of_wildcards_matches_by_segments(path: str) -> None:
    expected = re.fullmatch(r"/v1/[^/]+/lots", f"/v1/{path}/lots") is not None
    match = path_match("/v1/*/lots")["safe_regex"]["regex"]
    assert (re.fullmatch(match, f"/v1/{path}/lots") is not None) == expected


def test_a_query_is_no_part_of_a_path_and_a_page_is_a_path() -> None:
    assert first_route("GET", "/docs", {})["direct_response"]["status"] == 200
    assert first_route("GET", "/docs/", {})["direct_response"]["status"] == 404


def test_a_value_that_is_not_known_or_is_missing_is_refused(tmp_path: Path) -> None:
    shipped, file = SHIPPED_VALUES.read_text(), tmp_path / "values.toml"
    file.write_text(shipped + "colour = 1\n")
    with pytest.raises(ValueError, match="colour"):
        read_values(file)
    file.write_text(shipped.replace("max_connections = 10000\n", ""))
    with pytest.raises(ValueError, match="max_connections"):
        read_values(file)
    file.write_text(shipped.replace("max_connections = 10000\n", "max_connections = 0\n"))
    with pytest.raises(ValueError, match="greater than 0"):
        read_values(file)


@pytest.mark.parametrize(
    "wrong",
    [
        {"admin_listen": "0.0.0.0:8280"},
        {"listen": "edge.example:8080"},
        {"listen": "127.0.0.1"},
        {"listen": "127.0.0.1:65536"},
        {"contacts_addresses": ""},
        {"contacts_addresses": "a.example:1,b.example:1"},
        {"tls_key_file": "tls.key"},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EdgeSettings(**wrong)


def test_a_name_is_resolved_to_all_replicas_and_addresses_are_taken_as_they_are() -> None:
    settings = EdgeSettings(
        contacts_addresses="contacts.vafa.svc:7101",
        loyalty_addresses="10.0.0.1:7102,[::1]:7102",
    )
    found = bootstrap(settings, VALUES)["static_resources"]["clusters"]
    by_name = {cluster["name"]: cluster for cluster in found}
    assert by_name["contacts"]["type"] == "STRICT_DNS"
    assert by_name["loyalty"]["type"] == "STATIC"
    (locality,) = by_name["loyalty"]["load_assignment"]["endpoints"]
    sockets = [one["endpoint"]["address"]["socket_address"] for one in locality["lb_endpoints"]]
    assert sockets == [
        {"address": "10.0.0.1", "port_value": 7102},
        {"address": "::1", "port_value": 7102},
    ]


def test_an_edge_that_would_take_nobodys_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="no issuer is trusted"):
        trusted_issuers(EdgeSettings(token_issuer=""))
