"""Roles: what they grant, whom they are bound to, and what a change of the file does."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis import errors
from services.chassis.contract import contract_methods, contract_permissions
from services.chassis.identity import Principal
from services.chassis.roles import Roles, grants
from services.chassis.settings import ServiceSettings
from services.chassis.watched_file import UNREADABLE
from tests.harness.issuers import replace_file
from tests.harness.roles import write_roles

Clock = list[float]
SHIPPED: Path = ServiceSettings.model_fields["roles_file"].default
# Item 89 of the mission: who works with customers.
PRESETS = {
    "sales",
    "support",
    "marketing",
    "experience-manager",
    "brand",
    "service-designer",
    "management",
    "front-line",
}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The monotonic time, to be moved on past the second for which a file is not looked at."""
    now = [time.monotonic()]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def may(roles: Roles, principal: Principal, permission: str) -> bool:
    """Whether a principal is let in."""
    try:
        roles.require(principal, permission)
    except errors.PermissionDenied:
        return False
    return True


def test_a_role_grants_what_its_patterns_match(tmp_path: Path) -> None:
    permissions = {"reader": ["*.read"], "clerk": ["contacts.*"], "admin": ["*"]}
    roles = Roles(write_roles(tmp_path / "roles.json", permissions))
    for held, permission, wanted in (
        (("reader",), "orders.read", True),
        (("clerk",), "contacts.write", True),
        (("nobody", "admin"), "anything.else", True),
        (("reader",), "orders.write", False),
        (("clerk",), "orders.read", False),
        (("nobody",), "contacts.read", False),
        ((), "contacts.read", False),
    ):
        assert may(roles, Principal("ada", held), permission) is wanted


def test_who_is_refused_is_told_which_permission_is_needed(tmp_path: Path) -> None:
    roles = Roles(write_roles(tmp_path / "roles.json", {}))
    with pytest.raises(errors.PermissionDenied) as refused:
        roles.require(Principal("ada", ("admin",)), "orders.read")
    assert refused.value.metadata == {"permission": "orders.read"}


def test_a_bound_subject_has_its_roles_beside_those_of_its_token(tmp_path: Path) -> None:
    permissions = {"reader": ["*.read"], "clerk": ["contacts.*"]}
    bindings = {"https://login.example#ada": ["reader"]}
    roles = Roles(write_roles(tmp_path / "roles.json", permissions, bindings))
    bound = Principal("https://login.example#ada", ("clerk",))
    assert roles.of(bound) == {"reader", "clerk"}
    assert may(roles, bound, "orders.read")
    assert may(roles, bound, "contacts.write")
    for other in ("ada", "https://other.example#ada", ""):
        assert roles.of(Principal(other, ())) == set()
        assert not may(roles, Principal(other, ()), "orders.read")


def test_a_subject_that_is_bound_twice_has_the_roles_of_both(tmp_path: Path) -> None:
    path = write_roles(tmp_path / "roles.json", {"one": ["orders.read"], "two": ["points.read"]})
    content = json.loads(path.read_text())
    content["bindings"] = [{"subject": "ada", "roles": [role]} for role in ("one", "two")]
    roles = Roles(replace_file(path, json.dumps(content)))
    assert roles.of(Principal("ada", ())) == {"one", "two"}


PERMISSION = st.sampled_from(contract_permissions())


@given(permission=PERMISSION, other=PERMISSION)
def test_a_pattern_grants_its_noun_its_verb_or_itself_and_nothing_else(
    permission: str, other: str
) -> None:
    noun, _, verb = permission.partition(".")
    other_noun, _, other_verb = other.partition(".")
    assert grants([f"{noun}.*"], other) is (noun == other_noun)
    assert grants([f"*.{verb}"], other) is (verb == other_verb)
    assert grants([permission], other) is (permission == other)
    assert grants(["*"], other)
    assert not grants([], other)


def test_a_right_that_was_taken_away_is_gone_though_it_was_granted_before(
    tmp_path: Path, clock: Clock
) -> None:
    path = write_roles(tmp_path / "roles.json", {"clerk": ["contacts.*"]}, {"ada": ["clerk"]})
    roles, by_token, by_binding = Roles(path), Principal("x", ("clerk",)), Principal("ada", ())
    assert may(roles, by_token, "contacts.read")
    assert may(roles, by_binding, "contacts.read")
    write_roles(path, {"clerk": ["contacts.*"]})
    clock[0] += 2
    assert not may(roles, by_binding, "contacts.read")
    assert may(roles, by_token, "contacts.read")
    write_roles(path, {"clerk": []})
    clock[0] += 2
    assert not may(roles, by_token, "contacts.read")


def content(**changed: Any) -> str:
    """Return a file of roles with changes; None leaves a member out."""
    clerk = {"description": "A clerk.", "permissions": ["contacts.*"]}
    good = {"version": "1", "roles": {"clerk": clerk}, "bindings": []}
    return json.dumps({k: v for k, v in {**good, **changed}.items() if v is not None})


def role(**changed: Any) -> str:
    """Return a file with a role that is changed."""
    return content(roles={"clerk": {"description": "A.", "permissions": [], **changed}})


BAD_FILES: dict[str, str] = {
    "cut off": '{"roles"',
    "no object": "[]",
    "empty": "{}",
    "without a version": content(version=None),
    "without roles": content(roles=None),
    "with roles in a list": content(roles=[]),
    "of the former kind": content(roles={"clerk": ["contacts.*"]}),
    "with a member that nobody knows": content(binding=[]),
    "with one role twice": '{"version": "1", "roles": {"a": {}, "a": {}}}',
    "with a role whose name is none": content(roles={"A b": {"description": "A."}}),
    "with a role that says not what it is for": role(description=""),
    "with a permission that no method needs": role(permissions=["contact.read"]),
    "with a pattern that matches no permission": role(permissions=["contacts.re*"]),
    "with a pattern of a shell": role(permissions=["contacts.[rw]ead"]),
    "with a binding to a role that is not there": content(
        bindings=[{"subject": "ada", "roles": ["clerk", "boss"]}]
    ),
    "with a binding of nobody": content(bindings=[{"subject": "", "roles": ["clerk"]}]),
    "with a binding that is half": content(bindings=[{"subject": "ada"}]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_no_service_starts_with_a_file_of_roles(tmp_path: Path, case: str) -> None:
    with pytest.raises(UNREADABLE):
        Roles(replace_file(tmp_path / "roles.json", BAD_FILES[case]))


@pytest.mark.parametrize("case", BAD_FILES)
def test_the_last_good_roles_stay_when_the_file_becomes_one(
    tmp_path: Path, clock: Clock, case: str
) -> None:
    path = write_roles(tmp_path / "roles.json", {"clerk": ["contacts.*"]})
    roles = Roles(path)
    replace_file(path, BAD_FILES[case])
    clock[0] += 2
    assert may(roles, Principal("ada", ("clerk",)), "contacts.read")


def test_the_shipped_roles_are_those_of_the_mission_and_of_the_suite_itself() -> None:
    shipped = Roles(SHIPPED).by_name()
    assert shipped.keys() == PRESETS | {"admin", "reader", "service"}
    assert list(shipped) == sorted(shipped)


def test_the_administrator_may_do_everything() -> None:
    assert Roles(SHIPPED).by_name()["admin"].granted() == contract_permissions()


@pytest.mark.parametrize(
    "permission", ["access.write", "access.read", "events.redrive", "operations.write"]
)
def test_a_permission_is_the_administrators_alone(permission: str) -> None:
    shipped = Roles(SHIPPED).by_name()
    assert [name for name, one in shipped.items() if permission in one.granted()] == ["admin"]


def test_a_reader_changes_nothing_and_reads_no_keys_and_no_feeds() -> None:
    granted = set(Roles(SHIPPED).by_name()["reader"].granted())
    writes = {method.permission for method in contract_methods() if method.writes}
    reads = {method.permission for method in contract_methods() if not method.public} - writes
    assert granted == reads - {"access.read", "events.read"}


def test_who_decides_over_scores_alone_sees_no_person() -> None:
    personal = {"contacts.read", "customers.read", "interactions.read", "responses.read"}
    shipped = Roles(SHIPPED).by_name()
    for name in ("brand", "management"):
        assert not personal & set(shipped[name].granted())
