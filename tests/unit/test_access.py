"""Access to a method: how long it is remembered who was let in."""

import asyncio
import time
from pathlib import Path

import pytest

from services.chassis import errors
from services.chassis.access import REMEMBERED_SECONDS, Access
from services.chassis.call_log import CallLog, Outcome
from services.chassis.issuers import Issuer, Issuers
from services.chassis.lines import Lines
from services.chassis.policy import methods_of
from services.chassis.roles import Roles
from services.chassis.tokens import Tokens
from services.chassis.watched_file import LOOK_SECONDS
from services.command.keys import ensure_signing_key, mint_token
from tests.harness.roles import write_roles
from vafa.contacts.v1 import contacts_pb2

GET = methods_of(contacts_pb2.DESCRIPTOR.services_by_name["ContactService"])[0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic time, to be moved on."""
    now = [time.monotonic()]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


class Door:
    """Access to GetContact for a reader."""

    def __init__(self, folder: Path) -> None:
        self.roles_file = write_roles(folder / "roles.json", {"reader": ["contacts.read"]})
        ensure_signing_key(folder)
        own = Issuer(
            issuer="vafa-local",
            audiences=["vafa"],
            algorithms=["EdDSA"],
            jwks_file=folder / "keys" / "jwks.json",
            roles_claim="roles",
            subject_prefix="",
        )
        with (folder / "log").open("wb") as file:
            self._log = CallLog(Lines(file), "contacts", "INFO").of(GET)
        self._access = Access(Tokens(Issuers(own, None)), Roles(self.roles_file), GET)
        self.token = mint_token(folder, subject="ada", roles=["reader"])

    def is_open(self) -> bool:
        """Whether the reader is let in, and under the right name."""
        outcome = Outcome(self._log, "")
        try:
            principal = asyncio.run(self._access.allow(self.token, outcome))
        except errors.Refusal:
            return False
        assert principal.subject == outcome.principal == "ada"
        return True


def test_a_permission_that_is_taken_away_is_gone_soon(tmp_path: Path, clock: list[float]) -> None:
    door = Door(tmp_path)
    assert door.is_open()
    assert door.is_open()
    write_roles(door.roles_file, {"reader": ["orders.read"]})
    clock[0] += LOOK_SECONDS
    assert not door.is_open()


def test_a_permission_that_is_taken_away_is_gone_for_who_calls_all_the_time(
    tmp_path: Path, clock: list[float]
) -> None:
    door = Door(tmp_path)
    assert door.is_open()
    write_roles(door.roles_file, {"reader": ["orders.read"]})
    step = REMEMBERED_SECONDS / 3
    ends_at = clock[0] + LOOK_SECONDS + REMEMBERED_SECONDS + 2 * step
    while clock[0] < ends_at:
        clock[0] += step
        was_open = door.is_open()
    assert not was_open
