"""The rules of access: secrets, lifetimes, and what may be given."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.rules.granting import Excess, first_excess
from services.gateway.rules.lifetimes import is_expiry, token_lifetime_seconds
from services.gateway.rules.secrets import hash_of, is_secret_of, key_id_of, new_secret

KEY_IDS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
RANDOM = st.binary(min_size=32, max_size=32)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
PERMISSIONS = st.sampled_from(["contacts.read", "contacts.write", "orders.read", "access.write"])


@given(KEY_IDS, RANDOM)
def test_a_secret_says_of_which_key_it_is(key_id: str, random: bytes) -> None:
    secret = new_secret(key_id, random)
    assert secret.startswith(f"vafa_{key_id}_")
    assert len(secret) <= 200
    assert secret.isascii()
    assert secret.isprintable()
    assert key_id_of(secret) == key_id
    assert is_secret_of(secret, hash_of(secret))


@given(KEY_IDS, RANDOM, RANDOM)
def test_a_secret_is_that_of_its_own_bits_alone(key_id: str, one: bytes, other: bytes) -> None:
    same = one == other
    secret = new_secret(key_id, one)
    assert is_secret_of(secret, hash_of(new_secret(key_id, other))) == same
    assert not is_secret_of(secret, hash_of(new_secret(f"{key_id[:62]}x", one))) or key_id == (
        f"{key_id[:62]}x"
    )
    assert not is_secret_of(secret, None)


@given(st.text())
def test_whatever_is_no_secret_is_of_no_key(text: str) -> None:
    assert key_id_of(text) == ""
    assert key_id_of(f"vafa_{text}") == ""
    assert not is_secret_of(text, None)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_secret_has_two_hundred_and_fifty_six_random_bits(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        new_secret("till", bytes(size))


@given(MOMENTS, st.timedeltas(timedelta(days=-500), timedelta(days=500)))
def test_a_key_expires_ahead_and_within_four_hundred_days(now: datetime, ahead: timedelta) -> None:
    expected = timedelta(0) < ahead <= timedelta(days=400)
    assert is_expiry(now + ahead, now) == expected


@given(MOMENTS, st.floats(-1000, 1000), st.integers(1, 300))
def test_a_token_never_outlives_its_key(
    now: datetime, ahead_seconds: float, longest_seconds: int
) -> None:
    expire_time = now + timedelta(seconds=ahead_seconds)
    issue_second = int(now.timestamp())
    seconds = token_lifetime_seconds(expire_time, issue_second, longest_seconds)
    assert 0 <= seconds <= longest_seconds
    if seconds:
        assert issue_second + seconds <= expire_time.timestamp()
    if seconds < longest_seconds:
        # It could not have lived a second longer.
        assert issue_second + seconds + 1 > expire_time.timestamp()


@given(st.dictionaries(st.text(min_size=1), st.lists(PERMISSIONS)), st.sets(PERMISSIONS))
def test_what_may_be_given_is_what_is_held(roles: dict[str, list[str]], held: set[str]) -> None:
    excess = first_excess(roles, held.__contains__)
    given_away = {permission for permissions in roles.values() for permission in permissions}
    assert (excess is None) == (given_away <= held)
    if excess is not None:
        assert excess.permission in roles[excess.role]
        assert excess.permission not in held


def test_the_first_permission_in_excess_is_named() -> None:
    roles = {"a": ["contacts.read"], "b": ["orders.read", "orders.write"]}
    assert first_excess(roles, {"contacts.read"}.__contains__) == Excess("b", "orders.read")
