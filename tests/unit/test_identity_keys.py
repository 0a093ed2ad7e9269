"""Sets of keys: which keys are taken from them, and which sets are refused."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from services.chassis.keys import ALGORITHMS, keys_of
from services.chassis.watched_file import UNREADABLE
from tests.harness.issuers import new_key, to_jwk

KEYS = {algorithm: new_key(algorithm) for algorithm in ("EdDSA", "ES256", "ES384", "ES512")}
KEYS["RS256"] = new_key("RS256")
RSA_ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


def jwks(*entries: dict[str, Any]) -> bytes:
    """Return a set of keys."""
    return json.dumps({"keys": entries}).encode()


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "ES384", "ES512"])
def test_a_key_checks_what_its_family_and_curve_are_for(algorithm: str) -> None:
    keys = keys_of(jwks(to_jwk(KEYS[algorithm], kid="now")))
    assert keys["now"].algorithms == {algorithm}


def test_an_rsa_key_checks_by_any_padding_and_hash_unless_it_names_one() -> None:
    keys = keys_of(
        jwks(to_jwk(KEYS["RS256"], kid="any"), to_jwk(KEYS["RS256"], kid="one", alg="PS384"))
    )
    assert keys["any"].algorithms == RSA_ALGORITHMS
    assert keys["one"].algorithms == {"PS384"}


def test_no_algorithm_works_with_a_shared_secret() -> None:
    assert {"EdDSA", "ES256", "ES384", "ES512", *RSA_ALGORITHMS} == ALGORITHMS


PASSED_OVER: dict[str, dict[str, Any]] = {
    "for encryption": to_jwk(KEYS["RS256"], use="enc"),
    "of an algorithm of encryption": to_jwk(KEYS["RS256"], alg="RSA-OAEP"),
    "of an unknown family": {"kty": "AKP", "pub": "AAAA"},
    "of a curve for key agreement": {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
    "of another Edwards curve": OKPAlgorithm.to_jwk(
        ed448.Ed448PrivateKey.generate().public_key(), as_dict=True
    ),
    "of a curve of currencies": ECAlgorithm.to_jwk(
        ec.generate_private_key(ec.SECP256K1()).public_key(), as_dict=True
    ),
}


@pytest.mark.parametrize("case", PASSED_OVER)
def test_a_key_is_passed_over_that_is(case: str) -> None:
    other = {**PASSED_OVER[case], "kid": "other"}
    assert keys_of(jwks(other, to_jwk(KEYS["EdDSA"], kid="now"))).keys() == {"now"}


def test_an_empty_set_trusts_no_key() -> None:
    assert keys_of(jwks()) == {}


ONE = to_jwk(KEYS["EdDSA"], kid="now")
PRIVATE = rsa.generate_private_key(65537, 2048)
WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505
BAD_SETS: dict[str, bytes] = {
    "cut off": b'{"keys": [',
    "no object": b"[]",
    "without keys": b"{}",
    "that is nested without end": b'{"keys": ' + b"[" * 100_000,
    "with a member given twice": b'{"keys": [], "keys": []}',
    "with a key without kid": jwks(to_jwk(KEYS["EdDSA"])),
    "with a kid that is no text": jwks({**ONE, "kid": 1}),
    "with no key of use": jwks({"kid": "now", "kty": "?"}),
    "with one kid twice": jwks(ONE, to_jwk(KEYS["ES256"], kid="now")),
    "with a shared secret": jwks(ONE, {"kty": "oct", "k": "AAAA", "kid": "secret"}),
    "with a private key": jwks(ONE, {**RSAAlgorithm.to_jwk(PRIVATE, as_dict=True), "kid": "mine"}),
    "with the private part of a key": jwks({**ONE, "d": "AAAA"}),
    "with an algorithm of another family": jwks(to_jwk(KEYS["RS256"], kid="now", alg="ES256")),
    "with an algorithm of another curve": jwks(to_jwk(KEYS["ES384"], kid="now", alg="ES256")),
    "with a key that is too short": jwks(to_jwk(WEAK, kid="now")),
    "with a point that is on no curve": jwks({**to_jwk(KEYS["ES256"], kid="now"), "x": "A" * 43}),
    "of more than a mebibyte": jwks(ONE, {"kty": "?", "filling": "x" * 1024 * 1024}),
}


@pytest.mark.parametrize("case", BAD_SETS)
def test_a_set_is_refused(case: str) -> None:
    with pytest.raises(UNREADABLE):
        keys_of(BAD_SETS[case])
