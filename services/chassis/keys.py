"""The public keys of an issuer, from a JSON Web Key Set (RFC 7517)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from services.chassis import strict_json

PublicKey: TypeAlias = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey
CURVES = {"ES256": SECP256R1, "ES384": SECP384R1, "ES512": SECP521R1}
RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# Every algorithm that an issuer may be trusted with; none with a shared secret.
ALGORITHMS = frozenset({"EdDSA", *CURVES, *RSA_ALGORITHMS})
RSA_BITS_LEAST = 2048
JWKS_BYTES_LIMIT = 1024 * 1024
# The families that an algorithm above is of, by `kty` and `crv`.
FAMILIES = {
    ("OKP", "Ed25519"),
    ("EC", "P-256"),
    ("EC", "P-384"),
    ("EC", "P-521"),
    ("RSA", None),
}
# Members of a JWK that only its owner may know.
SECRET_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True)
class Key:
    """A public key, and the algorithms that it may check signatures of."""

    public: PublicKey
    algorithms: frozenset[str]


def keys_of(jwks: bytes) -> Mapping[str, Key]:
    """Return the keys that check signatures, by their kid.

    Keys for another use or of another family are passed over. Raises one of UNREADABLE for what
    is no key set, for more than a mebibyte, if two keys have one kid, if there is a secret or a
    private key among them, and if there are keys but none of use.
    """
    if len(jwks) > JWKS_BYTES_LIMIT:
        raise ValueError("larger than a mebibyte")
    entries = strict_json.parse(jwks)["keys"]
    keys: dict[str, Key] = {}
    for kid, key in _read(entries):
        if kid in keys:
            raise ValueError(f"two keys have the kid {kid}")
        keys[kid] = key
    if entries and not keys:
        raise ValueError("no key checks signatures by an algorithm that may be trusted")
    return keys


def _read(entries: list[dict[str, Any]]) -> Iterator[tuple[str, Key]]:
    for entry in entries:
        if entry["kty"] == "oct" or SECRET_MEMBERS & entry.keys():
            raise ValueError("a key that is not public is among them")
        is_known = (entry["kty"], entry.get("crv")) in FAMILIES
        is_for_signatures = entry.get("use", "sig") == "sig"
        is_trusted = entry.get("alg", "EdDSA") in ALGORITHMS
        if not (is_known and is_for_signatures and is_trusted):
            continue
        kid = entry["kid"]
        if not isinstance(kid, str):
            raise TypeError("a kid is no text")
        public = jwt.PyJWK(entry).key
        algorithms = _fitting(public)
        if "alg" in entry:
            algorithms &= {entry["alg"]}
        if not algorithms:
            raise ValueError(f"the key {kid} fits no algorithm, or not the one that it names")
        yield kid, Key(public, algorithms)


def _fitting(public: object) -> frozenset[str]:
    """Return the algorithms that a key is good for: none for one that is too weak."""
    if isinstance(public, Ed25519PublicKey):
        return frozenset({"EdDSA"})
    if isinstance(public, EllipticCurvePublicKey):
        return frozenset(a for a, curve in CURVES.items() if isinstance(public.curve, curve))
    if isinstance(public, RSAPublicKey) and public.key_size >= RSA_BITS_LEAST:
        return frozenset(RSA_ALGORITHMS)
    return frozenset()
