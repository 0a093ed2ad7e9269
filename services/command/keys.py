"""The signing key of a suite on one machine, and the tokens that it signs."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, SettingsConfigDict

from services.chassis.settings import TOKEN_AUDIENCE, TOKEN_ISSUER, OptionalPath
from services.chassis.signing import TOKEN_LIFETIME_SECONDS, SigningKey
from services.chassis.tokens import CLOCK_SKEW_SECONDS
from services.command.data_directory import locked, make_private_directory, write_private_file

# For so long after its last signature a key is published.
OUTLIVES_SECONDS = TOKEN_LIFETIME_SECONDS + CLOCK_SKEW_SECONDS


class IssuerSettings(BaseSettings):
    """How the gateway signs tokens, from the same variables, so that others sign alike."""

    model_config = SettingsConfigDict(env_prefix="VAFA_GATEWAY_", extra="ignore", frozen=True)

    token_issuer: str = TOKEN_ISSUER
    token_audience: str = TOKEN_AUDIENCE
    signing_key_file: OptionalPath = None


def ensure_signing_key(directory: Path) -> None:
    """Make directory/keys with signing.pem and jwks.json, or leave alone what is there.

    Processes that do this at once end with one key. Raises ValueError if what is there is no
    key, or if its jwks.json lacks the public key of signing.pem: services would refuse every
    token.
    """
    make_private_directory(directory)
    keys = directory / "keys"
    make_private_directory(keys)
    with locked(keys):
        signing, jwks = keys / "signing.pem", keys / "jwks.json"
        if not signing.exists():
            write_private_file(signing, SigningKey.generate().to_pem())
        jwk = _read_key(signing).public_jwk
        if not jwks.exists():
            _write_jwks(jwks, [jwk])
        elif jwk["kid"] not in [entry["kid"] for entry in _read_jwks(jwks)]:
            raise ValueError(f"{jwks} does not hold the public key of {signing}")


def mint_token(
    directory: Path,
    *,
    subject: str,
    roles: Sequence[str],
    lifetime_seconds: int = TOKEN_LIFETIME_SECONDS,
) -> str:
    """Return a token of subject with roles, signed with the key in directory, valid from now.

    Raises ValueError for a lifetime outside 1 to 300 seconds or a damaged key, and
    FileNotFoundError if ensure_signing_key has made no key there.
    """
    key = _read_key(directory / "keys" / "signing.pem")
    return _signed(key, IssuerSettings(), subject, roles, lifetime_seconds)


def mint_operator_token(directory: Path, *, subject: str, roles: Sequence[str]) -> str:
    """Return a token as mint_token does, signed with the key that IssuerSettings name, and only
    without one with that in directory.
    """
    settings = IssuerSettings()
    key = _read_key(settings.signing_key_file or directory / "keys" / "signing.pem")
    return _signed(key, settings, subject, roles, TOKEN_LIFETIME_SECONDS)


def write_token(path: Path, token: str) -> None:
    """Put token at path, readable by its owner alone; a reader never sees part of one."""
    make_private_directory(path.parent)
    write_private_file(path, token.encode())


def publish_next_key(directory: Path) -> None:
    """Make the key that is to sign next, unless there is one, and publish it beside the others.

    Services read the published keys again within a second or two; only then may it sign.
    """
    keys = directory / "keys"
    with locked(keys):
        following, jwks = keys / "next.pem", keys / "jwks.json"
        if not following.exists():
            write_private_file(following, SigningKey.generate().to_pem())
        jwk, published = _read_key(following).public_jwk, _read_jwks(jwks)
        if jwk["kid"] not in [entry["kid"] for entry in published]:
            _write_jwks(jwks, [*published, jwk])


def mint_token_of_next_key(directory: Path, *, subject: str, roles: Sequence[str]) -> str:
    """Return a token like those to come: services take it once they know the next key."""
    key = _read_key(directory / "keys" / "next.pem")
    return _signed(key, IssuerSettings(), subject, roles, TOKEN_LIFETIME_SECONDS)


def sign_with_next_key(directory: Path) -> None:
    """Let the next key sign from now on; the former is published until its tokens have ended."""
    keys = directory / "keys"
    with locked(keys):
        signing, jwks = keys / "signing.pem", keys / "jwks.json"
        former = _read_key(signing).public_jwk["kid"]
        ends = {"exp": int(time.time()) + OUTLIVES_SECONDS}
        entries = [entry | ends if entry["kid"] == former else entry for entry in _read_jwks(jwks)]
        _write_jwks(jwks, entries)
        (keys / "next.pem").replace(signing)


def withdraw_ended_keys(directory: Path) -> None:
    """Publish no longer the keys whose last tokens have ended."""
    keys = directory / "keys"
    with locked(keys):
        jwks = keys / "jwks.json"
        signing, now = _read_key(keys / "signing.pem").public_jwk["kid"], time.time()
        published = _read_jwks(jwks)
        kept = [e for e in published if e["kid"] == signing or e.get("exp", now + 1) > now]
        if kept != published:
            _write_jwks(jwks, kept)


def _signed(
    key: SigningKey,
    settings: IssuerSettings,
    subject: str,
    roles: Sequence[str],
    lifetime_seconds: int,
) -> str:
    return key.token(
        issuer=settings.token_issuer,
        audience=settings.token_audience,
        subject=subject,
        roles=roles,
        issue_second=int(time.time()),
        lifetime_seconds=lifetime_seconds,
    )


def _read_key(path: Path) -> SigningKey:
    try:
        return SigningKey.from_pem(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is {error}") from error


def _read_jwks(jwks: Path) -> list[dict[str, Any]]:
    """Return the entries, each with a kid, or raise ValueError."""
    try:
        entries: list[dict[str, Any]] = json.loads(jwks.read_bytes())["keys"]
        if not all(isinstance(entry["kid"], str) for entry in entries):
            raise ValueError("a kid is no text")
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{jwks} is not a set of keys: {error!r}") from error
    return entries


def _write_jwks(jwks: Path, entries: Sequence[dict[str, Any]]) -> None:
    write_private_file(jwks, json.dumps({"keys": entries}, indent=2).encode() + b"\n")
