"""Tokens and roles: what is let in, and what a change of the files does."""

import base64
import hmac
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from services.chassis import errors
from services.chassis.identity import UNREADABLE, Principal, Roles, Tokens

KEY = Ed25519PrivateKey.generate()
OTHER_KEY = Ed25519PrivateKey.generate()
Clock = list[float]


def jwk(key: Ed25519PrivateKey, kid: str) -> dict[str, Any]:
    """Return the public key as an entry of a JWKS."""
    entry: dict[str, Any] = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**entry, "kid": kid, "alg": "EdDSA", "use": "sig"}


def write(path: Path, content: object) -> Path:
    """Replace a file by JSON, as whoever rotates keys does."""
    fresh = path.with_suffix(".new")
    fresh.write_text(content if isinstance(content, str) else json.dumps(content))
    fresh.replace(path)
    return path


@pytest.fixture
def jwks_file(tmp_path: Path) -> Path:
    """A file with one key, `now`."""
    return write(tmp_path / "jwks.json", {"keys": [jwk(KEY, "now")]})


@pytest.fixture
def tokens(jwks_file: Path) -> Tokens:
    """What verifies tokens by that file."""
    return Tokens(jwks_file, "vafa-local", "vafa")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The monotonic time, to be moved on past the second for which a file is not looked at."""
    now = [time.monotonic()]
    monkeypatch.setattr("services.chassis.identity.time.monotonic", lambda: now[0])
    return now


def token(
    key: Any = KEY,
    *,
    headers: Mapping[str, Any] | None = None,
    algorithm: str = "EdDSA",
    **claims: Any,
) -> str:
    """Return a good token but for what is given; a claim of None is left out."""
    now = int(time.time())
    good = {
        "iss": "vafa-local",
        "aud": "vafa",
        "sub": "ada",
        "roles": ["reader"],
        "iat": now,
        "nbf": now,
        "exp": now + 300,
    }
    stated = {name: value for name, value in (good | claims).items() if value is not None}
    return jwt.encode(stated, key, algorithm=algorithm, headers={"kid": "now", **(headers or {})})


def nested(depth: int) -> str:
    """Return a token whose header is nested so deep."""
    header = base64.urlsafe_b64encode(b"[" * depth).rstrip(b"=").decode()
    return f"{header}.e30.AA"


def test_a_token_says_who_calls_and_in_which_roles(tokens: Tokens) -> None:
    assert tokens.verify(token()) == Principal("ada", ("reader",))


def test_a_token_without_roles_has_none(tokens: Tokens) -> None:
    assert tokens.verify(token(roles=None)).roles == ()


def test_a_token_that_expired_within_the_skew_of_clocks_is_accepted(tokens: Tokens) -> None:
    assert tokens.verify(token(exp=int(time.time()) - 10)).subject == "ada"


REFUSED: dict[str, Callable[[], str]] = {
    "expired": lambda: token(exp=int(time.time()) - 60),
    "not valid yet": lambda: token(nbf=int(time.time()) + 120),
    "of another issuer": lambda: token(iss="somebody"),
    "for another audience": lambda: token(aud="another"),
    "without an expiry": lambda: token(exp=None),
    "without a beginning": lambda: token(iat=None),
    "without a subject": lambda: token(sub=None),
    "with a subject that is no text": lambda: token(sub=7),
    "with roles that are no list": lambda: token(roles="admin"),
    "with a role that is no text": lambda: token(roles=[["admin"]]),
    "unsigned": lambda: token(None, algorithm="none"),
    "signed by a stranger": lambda: token(OTHER_KEY),
    "of an unknown key": lambda: token(headers={"kid": "old"}),
    "that brings its key by jku": lambda: token(headers={"jku": "https://evil.example/jwks"}),
    "that brings its key by x5u": lambda: token(headers={"x5u": "https://evil.example/x5u"}),
    "that brings its key itself": lambda: token(headers={"jwk": jwk(OTHER_KEY, "now")}),
    "with critical extensions": lambda: token(headers={"crit": ["x"], "x": 1}),
    "cut off": lambda: token()[:-5],
    "of two parts": lambda: "a.b",
    "empty": lambda: "",
    "of a megabyte": lambda: "a" * 1_000_000,
    "nested without end": lambda: nested(6000),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_token_is_refused_that_is(tokens: Tokens, case: str) -> None:
    with pytest.raises(errors.Unauthenticated) as refused:
        tokens.verify(REFUSED[case]())
    assert refused.value.message == "a valid token is needed"


def test_the_public_key_is_no_secret_to_sign_with(tokens: Tokens) -> None:
    head = {"alg": "HS256", "typ": "JWT", "kid": "now"}
    public = base64.urlsafe_b64decode(jwk(KEY, "now")["x"] + "=")
    # Made by hand, since the library will not sign with what looks like a public key.
    body = token().split(".")[1]
    start = base64.urlsafe_b64encode(json.dumps(head).encode()).rstrip(b"=").decode()
    signature = hmac.digest(public, f"{start}.{body}".encode(), "sha256")
    forged = f"{start}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    with pytest.raises(errors.Unauthenticated):
        tokens.verify(forged)


def test_a_trusted_key_of_another_algorithm_is_not_accepted(tmp_path: Path) -> None:
    key = generate_private_key(65537, 2048)
    public = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
    entry = {**public, "kid": "now", "alg": "RS256"}
    tokens = Tokens(write(tmp_path / "jwks.json", {"keys": [entry]}), "vafa-local", "vafa")
    with pytest.raises(errors.Unauthenticated):
        tokens.verify(token(key, algorithm="RS256"))


def test_a_key_that_is_gone_is_not_accepted_even_for_a_token_seen_before(
    tokens: Tokens, jwks_file: Path, clock: Clock
) -> None:
    old, new = token(), token(OTHER_KEY, headers={"kid": "next"})
    assert tokens.verify(old).subject == "ada"
    write(jwks_file, {"keys": [jwk(OTHER_KEY, "next")]})
    clock[0] += 2
    assert tokens.verify(new).subject == "ada"
    with pytest.raises(errors.Unauthenticated):
        tokens.verify(old)


BAD_FILES = {
    "cut off": '{"keys": [',
    "no object": "[]",
    "without keys": "{}",
    "with a key without kid": json.dumps({"keys": [{"kty": "OKP"}]}),
    "with a key of no kind": json.dumps({"keys": [{"kid": "now", "kty": "?"}]}),
    "with one kid twice": json.dumps({"keys": [jwk(KEY, "now"), jwk(OTHER_KEY, "now")]}),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_the_last_good_keys_stay_when_the_file_becomes_one(
    tokens: Tokens, jwks_file: Path, clock: Clock, case: str
) -> None:
    write(jwks_file, BAD_FILES[case])
    clock[0] += 2
    assert tokens.verify(token()).subject == "ada"
    write(jwks_file, {"keys": [jwk(OTHER_KEY, "next")]})
    clock[0] += 2
    assert tokens.verify(token(OTHER_KEY, headers={"kid": "next"})).subject == "ada"


@pytest.mark.parametrize("case", BAD_FILES)
def test_no_service_starts_with_a_file_of_keys(tmp_path: Path, case: str) -> None:
    with pytest.raises(UNREADABLE):
        Tokens(write(tmp_path / "jwks.json", BAD_FILES[case]), "vafa-local", "vafa")


def test_the_last_good_keys_stay_when_the_file_is_gone(
    tokens: Tokens, jwks_file: Path, clock: Clock
) -> None:
    jwks_file.unlink()
    clock[0] += 2
    assert tokens.verify(token()).subject == "ada"


def test_no_more_tokens_are_remembered_than_may_be(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.chassis.identity.CACHED_TOKENS", 2)
    for n in range(4):
        assert tokens.verify(token(sub=f"s{n}")).subject == f"s{n}"
    assert len(tokens._verified) == 2


def test_a_role_grants_what_its_patterns_match(tmp_path: Path) -> None:
    content = {"roles": {"reader": ["*.read"], "clerk": ["contacts.*"], "admin": ["*"]}}
    roles = Roles(write(tmp_path / "roles.json", content))
    roles.require(Principal("a", ("reader",)), "orders.read")
    roles.require(Principal("a", ("clerk",)), "contacts.write")
    roles.require(Principal("a", ("nobody", "admin")), "anything.else")
    for held, wanted in (
        (("reader",), "orders.write"),
        (("clerk",), "orders.read"),
        (("nobody",), "contacts.read"),
        ((), "contacts.read"),
    ):
        with pytest.raises(errors.PermissionDenied) as refused:
            roles.require(Principal("a", held), wanted)
        assert refused.value.metadata == {"permission": wanted}


def test_a_right_that_was_taken_away_is_gone_though_it_was_granted_before(
    tmp_path: Path, clock: Clock
) -> None:
    path = write(tmp_path / "roles.json", {"roles": {"clerk": ["contacts.*"]}})
    roles, clerk = Roles(path), Principal("a", ("clerk",))
    roles.require(clerk, "contacts.read")
    write(path, {"roles": {"clerk": []}})
    clock[0] += 2
    with pytest.raises(errors.PermissionDenied):
        roles.require(clerk, "contacts.read")


@pytest.mark.parametrize("broken", ['{"roles"', "[]", "{}", '{"roles": []}'])
def test_the_last_good_roles_stay_when_the_file_is_broken(
    tmp_path: Path, clock: Clock, broken: str
) -> None:
    path = write(tmp_path / "roles.json", {"roles": {"clerk": ["contacts.*"]}})
    roles = Roles(path)
    write(path, broken)
    clock[0] += 2
    roles.require(Principal("a", ("clerk",)), "contacts.read")
