"""The suite's own issuer: signs tokens, and publishes the keys to check them by."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.chassis import strict_json
from services.chassis.keys import keys_of
from services.chassis.signing import TOKEN_LIFETIME_SECONDS, SigningKey
from services.chassis.watched_file import WatchedFile
from services.gateway.rules.lifetimes import token_lifetime_seconds
from vafa.gateway.v1 import access_pb2

PUBLIC_MEMBERS = tuple(field.name for field in access_pb2.JsonWebKey.DESCRIPTOR.fields)


class TokenIssuer:
    """Signs with the key of a file, and publishes the keys of another; both are read again when
    they change.
    """

    def __init__(self, name: str, audience: str, signing_key_file: Path, jwks_file: Path) -> None:
        """Raise one of UNREADABLE if a file is not what it should be, and ValueError if the
        signing key is not among those that are published.
        """
        self._name = name
        self._audience = audience
        self._signing = WatchedFile(signing_key_file, SigningKey.from_pem)
        self._published = WatchedFile(jwks_file, _key_set)
        if self._signing.value.public_jwk["kid"] not in {key.kid for key in self.key_set().keys}:
            raise ValueError(f"{jwks_file} does not hold the public key of {signing_key_file}")

    def token(
        self, subject: str, roles: Iterable[str], ends_by: datetime
    ) -> access_pb2.AccessToken | None:
        """Return a token that ends by then at the latest, None if that leaves no second."""
        issue_second = int(datetime.now(UTC).timestamp())
        seconds = token_lifetime_seconds(ends_by, issue_second, TOKEN_LIFETIME_SECONDS)
        if not seconds:
            return None
        self._signing.changed()
        signed = self._signing.value.token(
            issuer=self._name,
            audience=self._audience,
            subject=subject,
            roles=list(roles),
            issue_second=issue_second,
            lifetime_seconds=seconds,
        )
        answer = access_pb2.AccessToken(token=signed)
        answer.expire_time.FromSeconds(issue_second + seconds)
        answer.lifetime.FromSeconds(seconds)
        return answer

    def key_set(self) -> access_pb2.JsonWebKeySet:
        """Return the public keys: of tokens that are signed now, and of those signed before."""
        self._published.changed()
        return self._published.value


def _key_set(jwks: bytes) -> access_pb2.JsonWebKeySet:
    """Return the keys of a JWKS that check tokens of this issuer; raises one of UNREADABLE."""
    known = keys_of(jwks)
    own = {kid for kid, key in known.items() if isinstance(key.public, Ed25519PublicKey)}
    return access_pb2.JsonWebKeySet(
        keys=(
            access_pb2.JsonWebKey(**{name: entry.get(name, "") for name in PUBLIC_MEMBERS})
            for entry in strict_json.parse(jwks)["keys"]
            if entry.get("kid") in own
        )
    )
