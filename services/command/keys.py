"""The signing key of a suite on one machine, and the tokens that it signs."""

import base64
import hashlib
import json
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from services.command.data_directory import locked, make_private_directory, write_private_file

ISSUER = "vafa-local"
AUDIENCE = "vafa"
MAX_LIFETIME_SECONDS = 300


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
            write_private_file(signing, _new_key_pem())
        jwk = _public_jwk(_signing_key(directory))
        if not jwks.exists():
            write_private_file(jwks, json.dumps({"keys": [jwk]}, indent=2).encode() + b"\n")
        elif jwk["kid"] not in _key_ids(jwks):
            raise ValueError(f"{jwks} does not hold the public key of {signing}")


def mint_token(
    directory: Path,
    *,
    subject: str,
    roles: Sequence[str],
    lifetime_seconds: int = MAX_LIFETIME_SECONDS,
) -> str:
    """Return a token of subject with roles, signed with the key in directory, valid from now.

    Raises ValueError for a lifetime outside 1 to 300 seconds or a damaged key, and
    FileNotFoundError if ensure_signing_key has made no key there.
    """
    if not 1 <= lifetime_seconds <= MAX_LIFETIME_SECONDS:
        raise ValueError(
            f"a token lives 1 to {MAX_LIFETIME_SECONDS} seconds, not {lifetime_seconds}"
        )
    key = _signing_key(directory)
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject,
        "roles": list(roles),
        "iat": now,
        "nbf": now,
        "exp": now + lifetime_seconds,
        "jti": str(uuid.uuid4()),
    }
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": _public_jwk(key)["kid"]})


def write_token(path: Path, token: str) -> None:
    """Put token at path, readable by its owner alone; a reader never sees part of one."""
    make_private_directory(path.parent)
    write_private_file(path, token.encode())


def _new_key_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _signing_key(directory: Path) -> Ed25519PrivateKey:
    path = directory / "keys" / "signing.pem"
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{path} is not a private key in PEM without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path} is not an Ed25519 key")
    return key


def _key_ids(jwks: Path) -> list[str]:
    try:
        return [key["kid"] for key in json.loads(jwks.read_bytes())["keys"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{jwks} is not a set of keys: {error!r}") from error


def _public_jwk(key: Ed25519PrivateKey) -> dict[str, Any]:
    required = dict(OKPAlgorithm.to_jwk(key.public_key(), as_dict=True))
    # RFC 7638: the hash covers the required members alone, sorted, without spaces.
    canonical = json.dumps(required, sort_keys=True, separators=(",", ":")).encode()
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=")
    return {**required, "kid": thumbprint.decode(), "alg": "EdDSA", "use": "sig"}
