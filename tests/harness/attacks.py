"""Calls that nobody may make: what an attacker sends in place of a good token.

Each attack is given the folder of a suite, whose `keys` hold the signing key of the suite's own
issuer and the JWKS, and returns headers: metadata of a gRPC call, or headers of an HTTP request.
The answer to each is UNAUTHENTICATED.
"""

import base64
import hmac
import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from services.chassis.signing import SigningKey

Headers = tuple[tuple[str, str], ...]
Attack = Callable[[Path], Headers]
# What all headers of a call may take together, at the edge and at each service.
HEADERS_BYTES_LIMIT = 16 * 1024
IDENTITY_HEADERS = (
    "x-principal",
    "x-user",
    "x-forwarded-user",
    "x-subject",
    "x-auth-request-user",
    "x-roles",
    "x-forwarded-groups",
    "x-jwt-payload",
    "x-envoy-peer-metadata",
    "vafa-principal",
    "vafa-roles",
)


def bearer(token: str) -> Headers:
    """Return the headers that carry a token."""
    return (("authorization", f"Bearer {token}"),)


def signing_key(folder: Path) -> Ed25519PrivateKey:
    """Return the key that the suite's own issuer signs with."""
    key = load_pem_private_key((folder / "keys" / "signing.pem").read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    return key


def key_id(folder: Path) -> str:
    """Return the kid of that key."""
    key = SigningKey.from_pem((folder / "keys" / "signing.pem").read_bytes())
    return str(key.public_jwk["kid"])


def base64url(raw: bytes) -> str:
    """Return bytes as a JWT holds them."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def good_header(folder: Path) -> dict[str, Any]:
    """Return the header of a token that is accepted."""
    return {"alg": "EdDSA", "typ": "JWT", "kid": key_id(folder)}


def good_claims() -> dict[str, Any]:
    """Return the claims of a token that is accepted, of an administrator."""
    now = int(time.time())
    return {
        "iss": "vafa-local",
        "aud": "vafa",
        "sub": "mallory",
        "roles": ["admin"],
        "iat": now,
        "nbf": now,
        "exp": now + 300,
        "jti": str(uuid.uuid4()),
    }


def signed(folder: Path, header: str, claims: str, key: Ed25519PrivateKey | None = None) -> str:
    """Return a token of header and claims as JSON, signed by the suite's issuer or by `key`."""
    start = f"{base64url(header.encode())}.{base64url(claims.encode())}"
    signature = (key or signing_key(folder)).sign(start.encode())
    return f"{start}.{base64url(signature)}"


def good_token(folder: Path, **claims: Any) -> str:
    """Return a token that is accepted but for the claims given; one of None is left out."""
    wanted = {k: v for k, v in {**good_claims(), **claims}.items() if v is not None}
    return signed(folder, json.dumps(good_header(folder)), json.dumps(wanted))


def token_of_size(folder: Path, size: int) -> str:
    """Return a token, good but for its size of at least so many bytes."""
    filling = size * 3 // 4 - 300
    return good_token(folder, filling="x" * filling)


def _with_claims(**claims: Any) -> Attack:
    return lambda folder: bearer(good_token(folder, **claims))


def _with_times(**seconds_from_now: int) -> Attack:
    def attack(folder: Path) -> Headers:
        now = int(time.time())
        times = {claim: now + seconds for claim, seconds in seconds_from_now.items()}
        return bearer(good_token(folder, **times))

    return attack


def _with_header(members: Callable[[Path], Mapping[str, Any]]) -> Attack:
    def attack(folder: Path) -> Headers:
        header = {k: v for k, v in {**good_header(folder), **members(folder)}.items() if v}
        return bearer(signed(folder, json.dumps(header), json.dumps(good_claims())))

    return attack


def _unsigned(algorithm: str) -> Attack:
    def attack(folder: Path) -> Headers:
        header = {**good_header(folder), "alg": algorithm}
        parts = (json.dumps(part).encode() for part in (header, good_claims()))
        return bearer(".".join([*map(base64url, parts), ""]))

    return attack


def _signed_with_the_public_key(secret: Callable[[Path], bytes]) -> Attack:
    def attack(folder: Path) -> Headers:
        header = {**good_header(folder), "alg": "HS256"}
        start = ".".join(base64url(json.dumps(p).encode()) for p in (header, good_claims()))
        signature = hmac.digest(secret(folder), start.encode(), "sha256")
        return bearer(f"{start}.{base64url(signature)}")

    return attack


def _public(encoding: Encoding, form: PublicFormat) -> Callable[[Path], bytes]:
    return lambda folder: signing_key(folder).public_key().public_bytes(encoding, form)


def _stranger_with_its_key_in_the_header(folder: Path) -> Headers:
    stranger = Ed25519PrivateKey.generate()
    raw = stranger.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64url(raw), "kid": key_id(folder)}
    header = json.dumps({**good_header(folder), "jwk": jwk})
    return bearer(signed(folder, header, json.dumps(good_claims()), stranger))


def _signed_by_a_stranger(folder: Path) -> Headers:
    header = json.dumps(good_header(folder))
    return bearer(signed(folder, header, json.dumps(good_claims()), Ed25519PrivateKey.generate()))


def _changed_after_it_was_signed(folder: Path) -> Headers:
    header, _, signature = good_token(folder, roles=["reader"]).split(".")
    return bearer(f"{header}.{base64url(json.dumps(good_claims()).encode())}.{signature}")


def _header_that_names_its_key_twice(folder: Path) -> Headers:
    kid = json.dumps(key_id(folder))
    header = f'{{"alg": "EdDSA", "kid": "another", "typ": "JWT", "kid": {kid}}}'
    return bearer(signed(folder, header, json.dumps(good_claims())))


def _claims_with_two_subjects(folder: Path) -> Headers:
    claims = f'{{"sub": "ada", {json.dumps(good_claims())[1:]}'
    return bearer(signed(folder, json.dumps(good_header(folder)), claims))


def _nested_without_end(folder: Path) -> Headers:
    return bearer(f"{base64url(b'[' * 3000)}.{base64url(b'{}')}.AA")


def _spoofed_identity(folder: Path) -> Headers:
    return tuple((name, "admin") for name in IDENTITY_HEADERS)


def _as_large_as_fits(folder: Path) -> Headers:
    # Each header counts 32 bytes more than its text, and the transport adds some of its own.
    return bearer(token_of_size(folder, HEADERS_BYTES_LIMIT - 2048))


ATTACKS: dict[str, Attack] = {
    "no token": lambda folder: (),
    "an empty token": lambda folder: bearer(""),
    "an empty header": lambda folder: (("authorization", ""),),
    "no scheme": lambda folder: (("authorization", good_token(folder)),),
    "another scheme": lambda folder: (("authorization", f"Basic {good_token(folder)}"),),
    "no token at all": lambda folder: bearer("a.b.c"),
    "a token cut off": lambda folder: bearer(good_token(folder)[:-6]),
    "a token of two parts": lambda folder: bearer(good_token(folder).rpartition(".")[0]),
    "a token of four parts": lambda folder: bearer(f"{good_token(folder)}.AA"),
    "two tokens in one header": lambda folder: bearer(f"{good_token(folder)}, Bearer a.b.c"),
    "two authorization headers": lambda folder: bearer(good_token(folder)) * 2,
    "spoofed identity headers": _spoofed_identity,
    "expired": _with_times(iat=-400, nbf=-400, exp=-100),
    "not valid yet": _with_times(nbf=120),
    "issued in the future": _with_times(iat=120),
    "a lifetime beyond the maximum": _with_times(exp=3600),
    "no expiry": _with_claims(exp=None),
    "no time of issue": _with_claims(iat=None),
    "an expiry that is no number": _with_claims(exp="never"),
    "an expiry without end": _with_claims(exp=float("inf")),
    "the wrong issuer": _with_claims(iss="https://issuer.example"),
    "no issuer": _with_claims(iss=None),
    "an issuer that is a list": _with_claims(iss=["vafa-local"]),
    "the wrong audience": _with_claims(aud="another"),
    "no audience": _with_claims(aud=None),
    "no subject": _with_claims(sub=None),
    "an empty subject": _with_claims(sub=""),
    "a subject that cannot be stored": _with_claims(sub="a\0b"),
    "roles that are no list": _with_claims(roles="admin"),
    "claims with two subjects": _claims_with_two_subjects,
    "the algorithm none": _unsigned("none"),
    "the algorithm None": _unsigned("None"),
    "no signature": _unsigned("EdDSA"),
    "HS256 with the public key as PEM": _signed_with_the_public_key(
        _public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ),
    "HS256 with the public key as bytes": _signed_with_the_public_key(
        _public(Encoding.Raw, PublicFormat.Raw)
    ),
    "HS256 with the published key": _signed_with_the_public_key(
        lambda folder: (folder / "keys" / "jwks.json").read_bytes()
    ),
    "another algorithm over a good signature": _with_header(lambda folder: {"alg": "ES256"}),
    "a key of a stranger": _signed_by_a_stranger,
    "claims changed after signing": _changed_after_it_was_signed,
    "an unknown kid": _with_header(lambda folder: {"kid": "another"}),
    "a kid that is a path": _with_header(lambda folder: {"kid": "../../keys/signing.pem"}),
    "no kid": _with_header(lambda folder: {"kid": None}),
    "two kids in the header": _header_that_names_its_key_twice,
    "a jku": _with_header(lambda folder: {"jku": "https://evil.example/jwks.json"}),
    "an x5u": _with_header(lambda folder: {"x5u": "https://evil.example/chain.pem"}),
    "an x5c": _with_header(lambda folder: {"x5c": ["AAAA"]}),
    "a jwk": _stranger_with_its_key_in_the_header,
    "critical extensions": _with_header(lambda folder: {"crit": ["exp"], "exp": 1}),
    "a header nested without end": _nested_without_end,
    "a token as large as fits": _as_large_as_fits,
}
