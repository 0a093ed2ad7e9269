"""The key that signs the suite's own tokens, and the tokens."""

import base64
import hashlib
import json
import uuid
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

TOKEN_LIFETIME_SECONDS = 300


class SigningKey:
    """An Ed25519 key of the suite's own issuer."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key

    @classmethod
    def generate(cls) -> Self:
        """Return a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Return the key of a PEM file; ValueError if it holds none, or one of another kind."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ValueError("not a private key in PEM without a password") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("not an Ed25519 key")
        return cls(key)

    def to_pem(self) -> bytes:
        """Return the key as a PEM file that from_pem reads: a secret."""
        return self._private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @cached_property
    def public_jwk(self) -> dict[str, Any]:
        """The public key as an entry of a JWKS, named by its thumbprint."""
        required = dict(OKPAlgorithm.to_jwk(self._private_key.public_key(), as_dict=True))
        # RFC 7638: the hash covers the required members alone, sorted, without spaces.
        canonical = json.dumps(required, sort_keys=True, separators=(",", ":")).encode()
        thumbprint = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=")
        return {**required, "kid": thumbprint.decode(), "alg": "EdDSA", "use": "sig"}

    def token(
        self,
        *,
        issuer: str,
        audience: str,
        subject: str,
        roles: Sequence[str],
        issue_second: int,
        lifetime_seconds: int,
    ) -> str:
        """Return a token of subject with roles; times are seconds from 1970, UTC.

        ValueError for a lifetime outside 1 to 300 seconds.
        """
        if not 1 <= lifetime_seconds <= TOKEN_LIFETIME_SECONDS:
            raise ValueError(
                f"a token lives 1 to {TOKEN_LIFETIME_SECONDS} seconds, not {lifetime_seconds}"
            )
        claims = {
            "iss": issuer,
            "aud": audience,
            "sub": subject,
            "roles": list(roles),
            "iat": issue_second,
            "nbf": issue_second,
            "exp": issue_second + lifetime_seconds,
            "jti": str(uuid.uuid4()),
        }
        headers = {"kid": self.public_jwk["kid"]}
        return jwt.encode(claims, self._private_key, algorithm="EdDSA", headers=headers)
