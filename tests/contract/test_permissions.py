"""Who may call what: every method × every role, at every service, as the committed table says.

The calls bring bytes that are no message. Access comes before these are read, so whoever is let
in gets MALFORMED_MESSAGE, and nothing is ever done.
"""

from collections.abc import Iterator, Mapping

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import vafa
from tests.contract.resources import METHODS, SERVED, Wire, refused
from tests.harness.suite import ROOT, RunningSuite

NO_MESSAGE = b"\xff\xff"
PUBLIC = {
    "/vafa.gateway.v1.AccessService/ExchangeApiKey",
    "/vafa.gateway.v1.AccessService/GetJsonWebKeySet",
}
# By which a machine asks a service for itself, without a token.
OF_THE_SERVER = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


def read_matrix(page: str) -> dict[str, dict[str, bool]]:
    """Return who may call what, by path and role, as docs/api/roles.md says."""
    matrix: dict[str, dict[str, bool]] = {}
    service, roles = "", [""]
    for line in page.splitlines():
        if line.startswith("## "):
            service = line.strip("# `")
        elif service and line.startswith("| "):
            cells = [cell.strip(" `") for cell in line.strip("|").split("|")]
            if cells[0] == "Method":
                roles = cells[2:]
            elif cells[0] != "---":
                said = {"yes": True, "·": False}
                allowed = [said[cell] for cell in cells[2:]]
                matrix[f"/{service}/{cells[0]}"] = dict(zip(roles, allowed, strict=True))
    return matrix


MATRIX = read_matrix((ROOT / "docs" / "api" / "roles.md").read_text())
EVERY_RPC = [
    pytest.param(process, method.path, id=f"{process}-{method.name}")
    for process, methods in SERVED.items()
    for method in methods
]
every_rpc = pytest.mark.parametrize(("process", "path"), EVERY_RPC)
# Who may call is decided before any database is asked.
pytestmark = pytest.mark.parametrize("suite", ["sqlite"], indirect=True)


@pytest.fixture
def wire(suite: RunningSuite) -> Iterator[Wire]:
    """The suite by its bytes."""
    with Wire(suite) as connected:
        yield connected


@pytest.fixture
def token_by_role(suite: RunningSuite) -> Mapping[str, str]:
    """Tokens of each role, and of one that no file defines."""
    roles = [*next(iter(MATRIX.values())), "nobody"]
    return {role: suite.token(role) for role in roles}


@every_rpc
def test_a_role_may_call_what_the_table_says_and_nothing_else(
    wire: Wire, token_by_role: Mapping[str, str], process: str, path: str
) -> None:
    permission = METHODS[path].permission
    for role, token in token_by_role.items():
        if path in PUBLIC or MATRIX[path].get(role, False):
            with refused(vafa.InvalidArgument, "MALFORMED_MESSAGE"):
                wire.call(process, path, NO_MESSAGE, token=token)
        else:
            with refused(vafa.PermissionDenied, "PERMISSION_DENIED") as refusal:
                wire.call(process, path, NO_MESSAGE, token=token)
            assert refusal.metadata == {"permission": permission}


@every_rpc
def test_nobody_without_a_token_may_call_what_is_not_public(
    wire: Wire, process: str, path: str
) -> None:
    if path in PUBLIC:
        with refused(vafa.InvalidArgument, "MALFORMED_MESSAGE"):
            wire.call(process, path, NO_MESSAGE, token="")
        return
    with refused(vafa.Unauthenticated, "UNAUTHENTICATED") as refusal:
        wire.call(process, path, NO_MESSAGE, token="")
    assert refusal.metadata == {}


def test_a_bad_token_takes_nothing_away_from_what_is_public(wire: Wire) -> None:
    for path in sorted(PUBLIC):
        with refused(vafa.InvalidArgument, "MALFORMED_MESSAGE"):
            wire.call("gateway", path, NO_MESSAGE, token=wire.token[:-6])


def test_the_table_has_every_method_that_is_served_and_no_other(suite: RunningSuite) -> None:
    listed = {path.split("/")[1] for path in MATRIX}
    served: set[str] = set()
    for process in SERVED:
        with grpc.insecure_channel(suite.addresses[process]) as channel:
            request = reflection_pb2.ServerReflectionRequest(list_services="")
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            (answer,) = stub.ServerReflectionInfo(iter([request]))
        served |= {service.name for service in answer.list_services_response.service}
    assert served - OF_THE_SERVER == listed
    assert MATRIX.keys() == METHODS.keys()
    assert {path for path, method in METHODS.items() if method.public} == PUBLIC
