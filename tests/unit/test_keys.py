"""The signing key and the tokens of a suite on one machine."""

import json
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from services.command.keys import (
    ensure_signing_key,
    mint_token,
    publish_next_key,
    sign_with_next_key,
    withdraw_ended_keys,
    write_token,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    ensure_signing_key(tmp_path / "vafa")
    return tmp_path / "vafa"


def the_key(directory: Path) -> dict[str, Any]:
    (key,) = json.loads((directory / "keys" / "jwks.json").read_text())["keys"]
    return dict(key)


def verified(directory: Path, token: str) -> dict[str, Any]:
    key = jwt.PyJWK(the_key(directory))
    return jwt.decode(token, key, algorithms=["EdDSA"], audience="vafa", issuer="vafa-local")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (directory / "keys").iterdir()}


def test_the_key_is_private_to_its_owner(directory: Path) -> None:
    assert mode(directory) == mode(directory / "keys") == 0o700
    assert mode(directory / "keys" / "signing.pem") == 0o600
    assert sorted(files(directory)) == ["jwks.json", "signing.pem"]


def test_the_published_key_is_named_by_its_thumbprint_and_holds_no_secret(tmp_path: Path) -> None:
    # The key and its thumbprint are those of RFC 8037, appendices A.1 to A.3.
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    pem = Ed25519PrivateKey.from_private_bytes(seed).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "signing.pem").write_bytes(pem)
    ensure_signing_key(tmp_path)
    assert the_key(tmp_path) == {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        "alg": "EdDSA",
        "use": "sig",
    }
    assert (tmp_path / "keys" / "signing.pem").read_bytes() == pem


def test_a_key_that_is_there_is_kept(directory: Path) -> None:
    before = files(directory)
    ensure_signing_key(directory)
    assert files(directory) == before


def test_processes_that_race_end_with_one_key(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from services.command.keys import *;"
        "sys.stdin.read(); ensure_signing_key(Path(sys.argv[1]));"
        "print(mint_token(Path(sys.argv[1]), subject='cli', roles=['admin']))"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
        racer.stdin = None
    tokens = [racer.communicate(timeout=30)[0].strip() for racer in racers]
    assert [verified(tmp_path, token)["sub"] for token in tokens] == ["cli"] * 4
    assert sorted(files(tmp_path)) == ["jwks.json", "signing.pem"]


def test_published_keys_that_lack_the_signing_key_are_reported(directory: Path) -> None:
    (directory / "keys" / "signing.pem").unlink()
    with pytest.raises(ValueError, match=r"jwks\.json does not hold the public key"):
        ensure_signing_key(directory)


def test_a_token_says_who_and_for_how_long(directory: Path) -> None:
    before = int(time.time())
    token = mint_token(directory, subject="gateway", roles=["service"], lifetime_seconds=60)
    after = int(time.time())
    claims = verified(directory, token)
    assert jwt.get_unverified_header(token) == {
        "alg": "EdDSA",
        "kid": the_key(directory)["kid"],
        "typ": "JWT",
    }
    assert set(claims) == {"iss", "aud", "sub", "roles", "iat", "nbf", "exp", "jti"}
    assert (claims["sub"], claims["roles"]) == ("gateway", ["service"])
    assert before <= claims["iat"] <= after
    assert claims["nbf"] == claims["iat"]
    assert claims["exp"] == claims["iat"] + 60


def test_no_two_tokens_are_the_same(directory: Path) -> None:
    tokens = {mint_token(directory, subject="cli", roles=()) for _ in range(3)}
    assert len(tokens) == 3


@pytest.mark.parametrize("lifetime_seconds", [-1, 0, 301])
def test_a_lifetime_out_of_bounds_is_refused(directory: Path, lifetime_seconds: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 300 seconds, not {lifetime_seconds}"):
        mint_token(directory, subject="cli", roles=[], lifetime_seconds=lifetime_seconds)


def test_a_token_needs_a_signing_key(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"signing\.pem"):
        mint_token(tmp_path, subject="cli", roles=[])


def test_a_token_file_is_private_and_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "tokens" / "gateway"
    write_token(path, "first")
    with path.open() as reader:
        write_token(path, "second")
        assert reader.read() == "first"
    assert path.read_text() == "second"
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert list(path.parent.iterdir()) == [path]


def test_a_former_key_is_withdrawn_when_its_last_token_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def published() -> list[str]:
        entries = json.loads((tmp_path / "keys" / "jwks.json").read_text())["keys"]
        return [entry["kid"] for entry in entries]

    ensure_signing_key(tmp_path)
    [old] = published()
    publish_next_key(tmp_path)
    # Interrupted here, it is gone on with.
    publish_next_key(tmp_path)
    _, new = published()
    sign_with_next_key(tmp_path)
    now = time.time()
    for seconds, expected in ((0, [old, new]), (329, [old, new]), (331, [new]), (10**9, [new])):
        monkeypatch.setattr("services.command.keys.time.time", lambda at=now + seconds: at)
        withdraw_ended_keys(tmp_path)
        assert published() == expected
    ensure_signing_key(tmp_path)
