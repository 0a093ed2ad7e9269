"""Tokens: whose are let in, by which keys, and what a change of keys or issuers does."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis import errors
from services.chassis.identity import Principal
from services.chassis.issuers import Issuer, Issuers
from services.chassis.keys import ALGORITHMS
from services.chassis.tokens import Tokens
from services.chassis.watched_file import UNREADABLE
from services.command.keys import ensure_signing_key
from tests.harness.attacks import ATTACKS, good_token, token_of_size
from tests.harness.issuers import ForeignIssuer, KeyServer, replace_file, to_jwk

Clock = list[float]
OIDC = "https://login.example"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The monotonic time, to be moved on past the second for which a file is not looked at."""
    now = [time.monotonic()]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a suite, with its own issuer's keys."""
    ensure_signing_key(tmp_path)
    return tmp_path


def own_issuer(folder: Path) -> Issuer:
    """Return the suite's own issuer."""
    return Issuer(
        issuer="vafa-local",
        audiences=["vafa"],
        algorithms=["EdDSA"],
        jwks_file=folder / "keys" / "jwks.json",
        roles_claim="roles",
        subject_prefix="",
        max_lifetime_seconds=300,
    )


def trust(folder: Path, *issuers: ForeignIssuer, **declared: Any) -> Path:
    """Write a file of issuers, and the keys of each beside it; return its path."""
    entries = []
    for n, issuer in enumerate(issuers):
        replace_file(folder / f"keys{n}.json", issuer.jwks())
        entry = {
            "issuer": issuer.name,
            "audiences": [issuer.audience],
            "algorithms": [issuer.algorithm],
            "jwks_file": f"keys{n}.json",
        }
        entries.append({**entry, **declared})
    return write_issuers(folder, entries)


def write_issuers(folder: Path, entries: Sequence[object]) -> Path:
    """Write a file of issuers; return its path."""
    content = json.dumps({"version": "1", "issuers": entries})
    return replace_file(folder / "issuers.json", content)


def tokens_of(folder: Path, issuers_file: Path | None = None) -> Tokens:
    """Return what verifies tokens of the suite's own issuer and of those of a file."""
    return Tokens(Issuers(own_issuer(folder), issuers_file))


@pytest.fixture
def tokens(folder: Path) -> Tokens:
    """What verifies tokens of the suite's own issuer."""
    return tokens_of(folder)


def verify(tokens: Tokens, token: str) -> Principal:
    """Return whose token it is."""
    return asyncio.run(tokens.verify(token))


def refuse(tokens: Tokens, token: str) -> None:
    """Check that a token is refused, in the words that do not say why."""
    with pytest.raises(errors.Unauthenticated) as refused:
        verify(tokens, token)
    assert refused.value.message == "a valid token is needed"
    assert refused.value.metadata == {}


def test_a_token_says_who_calls_and_in_which_roles(folder: Path, tokens: Tokens) -> None:
    token = good_token(folder, sub="ada", roles=["reader"])
    assert verify(tokens, token) == Principal("ada", ("reader",))


def test_a_token_without_roles_has_none(folder: Path, tokens: Tokens) -> None:
    assert verify(tokens, good_token(folder, roles=None)).roles == ()


def test_a_token_that_expired_within_the_skew_of_clocks_is_accepted(
    folder: Path, tokens: Tokens
) -> None:
    now = int(time.time())
    token = good_token(folder, sub="ada", exp=now - 10, iat=now - 100)
    assert verify(tokens, token).subject == "ada"


def test_a_token_may_be_for_others_too(folder: Path, tokens: Tokens) -> None:
    assert verify(tokens, good_token(folder, aud=["another", "vafa"])).subject == "mallory"


def tokens_among_attacks(folder: Path) -> dict[str, str]:
    """Return the attacks that consist of one token."""
    headers = {name: attack(folder) for name, attack in ATTACKS.items()}
    return {
        name: one[0][1].removeprefix("Bearer ")
        for name, one in headers.items()
        if len(one) == 1 and one[0][1].startswith("Bearer")
    }


def test_every_attack_by_a_token_is_refused(folder: Path, tokens: Tokens) -> None:
    attacks = tokens_among_attacks(folder)
    assert len(attacks) > 30
    for token in attacks.values():
        refuse(tokens, token)


def test_a_token_is_refused_before_it_is_read_if_it_is_too_large(
    folder: Path, tokens: Tokens
) -> None:
    assert verify(tokens, token_of_size(folder, 8000)).subject == "mallory"
    refuse(tokens, token_of_size(folder, 1_000_000))


REFUSED_CLAIMS: dict[str, dict[str, Any]] = {
    "a subject that is no text": {"sub": 7},
    "a subject of more than 512 characters": {"sub": "x" * 513},
    "a subject with a line break": {"sub": "ada\nroot"},
    "half of a surrogate pair as its subject": {"sub": "\ud800"},
    "a role that is no text": {"roles": [["admin"]]},
    "an expiry that is a truth": {"exp": True},
    "an expiry written as text": {"exp": str(int(time.time()) + 100)},
    "an expiry beyond all numbers": {"exp": 10**400},
}


@pytest.mark.parametrize("case", REFUSED_CLAIMS)
def test_a_token_is_refused_that_has(folder: Path, tokens: Tokens, case: str) -> None:
    refuse(tokens, good_token(folder, **REFUSED_CLAIMS[case]))


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_an_issuer_may_sign_by_any_algorithm_that_it_is_trusted_with(
    folder: Path, algorithm: str
) -> None:
    issuer = ForeignIssuer(OIDC, algorithm)
    tokens = tokens_of(folder, trust(folder, issuer))
    assert verify(tokens, issuer.token()) == Principal(f"{OIDC}#ada", ())
    header, claims, signature = issuer.token().split(".")
    refuse(tokens, f"{header}.{claims}.{signature[::-1]}")


def test_an_issuer_is_held_to_its_list_of_algorithms(folder: Path) -> None:
    issuer = ForeignIssuer(OIDC, "RS256")
    open_to_all = {"keys": [to_jwk(issuer.key, kid=issuer.kid)]}
    issuers_file = trust(folder, issuer)
    (folder / "keys0.json").write_text(json.dumps(open_to_all))
    tokens = tokens_of(folder, issuers_file)
    assert verify(tokens, issuer.token()).subject == f"{OIDC}#ada"
    issuer.algorithm = "PS256"
    refuse(tokens, issuer.token())


def test_a_key_is_held_to_the_algorithm_that_it_names(folder: Path) -> None:
    issuer = ForeignIssuer(OIDC, "RS256")
    tokens = tokens_of(folder, trust(folder, issuer, algorithms=["RS256", "RS512"]))
    assert verify(tokens, issuer.token()).subject == f"{OIDC}#ada"
    issuer.algorithm = "RS512"
    refuse(tokens, issuer.token())


def test_a_key_of_one_issuer_never_signs_for_another(folder: Path) -> None:
    one, other = ForeignIssuer(OIDC, "ES256"), ForeignIssuer("https://other.example", "ES256")
    tokens = tokens_of(folder, trust(folder, one, other))
    for issuer in (one, other):
        assert verify(tokens, issuer.token()).subject == f"{issuer.name}#ada"
    refuse(tokens, one.token(iss=other.name))
    refuse(tokens, one.token(iss=other.name, header={"kid": other.kid}))
    refuse(tokens, one.token(iss="vafa-local"))
    refuse(tokens, good_token(folder, iss=OIDC))


def test_each_issuer_has_its_own_audiences(folder: Path) -> None:
    one, other = ForeignIssuer(OIDC), ForeignIssuer("https://other.example", audience="crm")
    tokens = tokens_of(folder, trust(folder, one, other))
    assert verify(tokens, other.token()).subject == "https://other.example#ada"
    refuse(tokens, other.token(aud="vafa"))
    refuse(tokens, one.token(aud="crm"))


def test_roles_in_the_token_of_another_issuer_are_not_trusted(folder: Path) -> None:
    issuer = ForeignIssuer(OIDC)
    tokens = tokens_of(folder, trust(folder, issuer))
    assert verify(tokens, issuer.token(roles=["admin"])).roles == ()


def test_an_issuer_may_be_trusted_for_roles_in_a_claim_of_its_own(folder: Path) -> None:
    issuer = ForeignIssuer(OIDC)
    tokens = tokens_of(folder, trust(folder, issuer, roles_claim="groups"))
    assert verify(tokens, issuer.token(groups=["sales"], roles=["admin"])).roles == ("sales",)


def test_a_token_lives_no_longer_than_its_issuer_may_let_it(folder: Path) -> None:
    issuer, now = ForeignIssuer(OIDC), int(time.time())
    tokens = tokens_of(folder, trust(folder, issuer, max_lifetime_seconds=7200))
    assert verify(tokens, issuer.token(iat=now, exp=now + 7200)).subject == f"{OIDC}#ada"
    refuse(tokens, issuer.token(iat=now, exp=now + 7201))
    refuse(tokens, good_token(folder, iat=now, exp=now + 301))


def test_no_subject_of_the_own_issuer_can_be_taken_for_that_of_another(folder: Path) -> None:
    issuer = ForeignIssuer(OIDC)
    tokens = tokens_of(folder, trust(folder, issuer))
    assert verify(tokens, issuer.token()).subject == f"{OIDC}#ada"
    refuse(tokens, good_token(folder, sub=f"{OIDC}#ada"))
    assert verify(tokens, good_token(folder, sub=f"{OIDC}/ada")).subject == f"{OIDC}/ada"


SHORT = st.text("a#", max_size=3)


@given(prefixes=st.lists(SHORT, max_size=3), names=st.lists(SHORT, min_size=4, max_size=4))
def test_subjects_of_two_issuers_never_collide(
    tmp_path_factory: pytest.TempPathFactory, prefixes: list[str], names: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("issuers")
    ensure_signing_key(folder)
    entries = [
        {
            "issuer": f"https://{n}.example",
            "audiences": ["vafa"],
            "algorithms": ["RS256"],
            "jwks_url": "https://issuer.example/jwks",
            "subject_prefix": prefix,
        }
        for n, prefix in enumerate(prefixes)
    ]
    overlap = any(a.startswith(b) for a, b in permutations(prefixes, 2))
    try:
        issuers = Issuers(own_issuer(folder), write_issuers(folder, entries))
    except ValueError:
        assert overlap or "" in prefixes
        return
    assert not overlap
    owners: dict[str, str] = {}
    for issuer, name in zip(["vafa-local", *(e["issuer"] for e in entries)], names, strict=False):
        trusted = issuers.get(str(issuer))
        assert trusted is not None
        try:
            subject = issuers.subject(trusted.issuer, name)
        except ValueError:
            assert issuer == "vafa-local"
            continue
        assert owners.setdefault(subject, str(issuer)) == issuer


def test_a_key_that_is_gone_is_not_accepted_even_for_a_token_seen_before(
    folder: Path, clock: Clock
) -> None:
    issuer = ForeignIssuer(OIDC, "EdDSA")
    tokens = tokens_of(folder, trust(folder, issuer))
    old = issuer.token()
    assert verify(tokens, old).subject == f"{OIDC}#ada"
    issuer.rotate()
    replace_file(folder / "keys0.json", issuer.jwks())
    clock[0] += 2
    assert verify(tokens, issuer.token()).subject == f"{OIDC}#ada"
    refuse(tokens, old)


def test_an_issuer_that_is_gone_is_not_trusted_even_for_a_token_seen_before(
    folder: Path, clock: Clock
) -> None:
    one, other = ForeignIssuer(OIDC, "EdDSA"), ForeignIssuer("https://other.example", "EdDSA")
    tokens = tokens_of(folder, trust(folder, one))
    seen = one.token()
    assert verify(tokens, seen).subject == f"{OIDC}#ada"
    refuse(tokens, other.token())
    trust(folder, other)
    clock[0] += 2
    assert verify(tokens, other.token()).subject == f"{other.name}#ada"
    refuse(tokens, seen)


def test_an_issuer_that_lost_the_trust_while_its_key_was_waited_for_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.chassis.watched_file.LOOK_SECONDS", 0)
    issuer, asked, released = ForeignIssuer(OIDC, "EdDSA"), Event(), Event()

    def hold_back() -> None:
        asked.set()
        released.wait()

    async def lose_the_trust(tokens: Tokens) -> None:
        waiting = asyncio.create_task(tokens.verify(issuer.token()))
        await asyncio.to_thread(asked.wait)
        write_issuers(folder, [])
        await tokens.verify(good_token(folder))
        released.set()
        with pytest.raises(errors.Unauthenticated):
            await waiting

    with KeyServer(folder) as server:
        server.body = issuer.jwks().encode()
        server.before = hold_back
        at_address = entry(algorithms=["EdDSA"], jwks_url=server.url)
        tokens = tokens_of(folder, write_issuers(folder, [at_address]))
        asyncio.run(lose_the_trust(tokens))


def entry(**changed: Any) -> dict[str, Any]:
    """Return an issuer as the file declares it, with changes; None leaves a member out."""
    good = {
        "issuer": OIDC,
        "audiences": ["vafa"],
        "algorithms": ["RS256"],
        "jwks_url": "https://login.example/jwks",
    }
    return {k: v for k, v in {**good, **changed}.items() if v is not None}


def test_a_declaration_of_the_least_is_enough(folder: Path) -> None:
    issuers = Issuers(own_issuer(folder), write_issuers(folder, [entry()]))
    trusted = issuers.get(OIDC)
    assert trusted is not None
    assert trusted.issuer.prefix == f"{OIDC}#"
    assert trusted.issuer.max_lifetime_seconds == 3600
    assert trusted.issuer.roles_claim is None


def declared(*entries: object) -> str:
    """Return a file of issuers."""
    return json.dumps({"version": "1", "issuers": entries})


BAD_ISSUERS: dict[str, str] = {
    "that is cut off": '{"version": "1", "issuers": [',
    "without a version": json.dumps({"issuers": []}),
    "with a member that nobody knows": declared(entry(audience="vafa")),
    "with a member given twice": '{"version": "1", "issuers": [], "issuers": []}',
    "with one name twice": declared(entry(), entry(subject_prefix="other:")),
    "with the name of the suite's own": declared(entry(issuer="vafa-local")),
    "with one prefix twice": declared(entry(), entry(issuer="x", subject_prefix=f"{OIDC}#")),
    "with a prefix that begins with another": declared(
        entry(), entry(issuer="x", subject_prefix=f"{OIDC}#staff:")
    ),
    "without a prefix": declared(entry(subject_prefix="")),
    "that trusts no signature at all": declared(entry(algorithms=["none"])),
    "that trusts a shared secret": declared(entry(algorithms=["RS256", "HS256"])),
    "without an algorithm": declared(entry(algorithms=[])),
    "without an audience": declared(entry(audiences=[])),
    "with an audience that is no list": declared(entry(audiences="vafa")),
    "without a place of keys": declared(entry(jwks_url=None)),
    "with two places of keys": declared(entry(jwks_file="keys.json")),
    "with a file of keys that is not there": declared(
        entry(jwks_url=None, jwks_file="nowhere.json")
    ),
    "with keys that come over plain HTTP": declared(entry(jwks_url="http://login.example/jwks")),
    "with keys that come from a file": declared(entry(jwks_url="file:///etc/passwd")),
    "with a password in its address": declared(entry(jwks_url="https://a:b@login.example/jwks")),
    "with an address without a host": declared(entry(jwks_url="https:///jwks")),
    "with a port that is none": declared(entry(jwks_url="https://login.example:99999/jwks")),
    "with tokens that live for ever": declared(entry(max_lifetime_seconds=10**9)),
    "with a certificate and nothing to download": declared(
        entry(jwks_url=None, jwks_file="keys/jwks.json", ca_file="ca.pem")
    ),
}


@pytest.mark.parametrize("case", BAD_ISSUERS)
def test_no_service_starts_with_a_file_of_issuers(folder: Path, case: str) -> None:
    with pytest.raises(UNREADABLE):
        Issuers(own_issuer(folder), replace_file(folder / "issuers.json", BAD_ISSUERS[case]))


@pytest.mark.parametrize("case", BAD_ISSUERS)
def test_the_last_good_issuers_stay_when_the_file_becomes_one(
    folder: Path, clock: Clock, case: str
) -> None:
    issuer = ForeignIssuer(OIDC, "EdDSA")
    issuers_file = trust(folder, issuer)
    tokens = tokens_of(folder, issuers_file)
    replace_file(issuers_file, BAD_ISSUERS[case])
    clock[0] += 2
    assert verify(tokens, issuer.token()).subject == f"{OIDC}#ada"
    assert verify(tokens, good_token(folder)).subject == "mallory"


def test_a_suite_without_an_issuer_of_its_own_trusts_those_of_the_file_alone(
    folder: Path,
) -> None:
    issuer = ForeignIssuer(OIDC, "EdDSA")
    tokens = Tokens(Issuers(None, trust(folder, issuer)))
    assert verify(tokens, issuer.token()).subject == f"{OIDC}#ada"
    refuse(tokens, good_token(folder))


@pytest.mark.parametrize("write", [None, lambda folder: write_issuers(folder, [])])
def test_somebody_must_be_trusted(folder: Path, write: Callable[[Path], Path] | None) -> None:
    with pytest.raises(ValueError, match="no issuer is trusted"):
        Issuers(None, write and write(folder))


@pytest.mark.parametrize("broken", ["", "{}", '{"keys": ['])
def test_the_last_good_keys_stay_when_the_file_is_broken_or_gone(
    folder: Path, tokens: Tokens, clock: Clock, broken: str
) -> None:
    jwks_file = folder / "keys" / "jwks.json"
    token = good_token(folder)
    if broken:
        replace_file(jwks_file, broken)
    else:
        jwks_file.unlink()
    clock[0] += 2
    assert verify(tokens, token).subject == "mallory"


def test_no_more_tokens_are_remembered_than_may_be(
    folder: Path, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.chassis.tokens.CACHED_TOKENS", 2)
    for n in range(4):
        assert verify(tokens, good_token(folder, sub=f"s{n}")).subject == f"s{n}"
    assert len(tokens._verified) == 2
