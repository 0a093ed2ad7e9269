"""Tokens: who calls, as a trusted issuer has signed it."""

import asyncio
import base64
import hashlib
import math
import time
from collections import OrderedDict
from typing import Any, NoReturn

import jwt

from services.chassis import errors, strict_json
from services.chassis.identity import Principal
from services.chassis.issuers import Issuer, Issuers, Trusted
from services.chassis.keys import Key

CACHED_TOKENS = 10_000
TOKEN_BYTES_LIMIT = 8192
SUBJECT_CHARACTERS_LIMIT = 512
CLOCK_SKEW_SECONDS = 30
RENEW_SECONDS = 1.0
REQUIRED_CLAIMS = ["exp", "iat", "sub", "iss", "aud"]
TIMES = ("exp", "iat", "nbf")
# Members of a header by which a token brings its own key, or wants to be read in another way.
REFUSED_MEMBERS = frozenset({"jku", "x5u", "jwk", "x5c", "crit"})
REFUSAL = "a valid token is needed"
# What a token that is not in order may raise on its way.
NOT_IN_ORDER = (jwt.PyJWTError, ValueError, KeyError, TypeError, AttributeError, OverflowError)


class Tokens:
    """Verifies tokens. Verified ones are remembered until they expire, or until an issuer or a
    key changes.
    """

    def __init__(self, issuers: Issuers) -> None:
        self._issuers = issuers
        self._verified: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    async def run(self) -> None:
        """Keep the keys that are downloaded up to date until cancelled."""
        while True:
            self._forget_if_changed()
            await self._issuers.renew()
            await asyncio.sleep(RENEW_SECONDS)

    async def verify(self, token: str) -> Principal:
        """Return whose token it is; raises Unauthenticated, always with the same text."""
        self._forget_if_changed()
        if not token or len(token) > TOKEN_BYTES_LIMIT:
            _refuse()
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is not None and known[0] > time.time():
            return known[1]
        try:
            trusted, key = await self._found(token)
            claims = _claims(token, trusted.issuer, key)
            principal = Principal(
                self._issuers.subject(trusted.issuer, _name_in(claims)),
                _roles_in(claims, trusted.issuer),
            )
        except NOT_IN_ORDER as error:
            raise errors.Unauthenticated(REFUSAL) from error
        self._remember(digest, float(claims["exp"]), principal)
        return principal

    def _forget_if_changed(self) -> None:
        if self._issuers.changed():
            self._verified.clear()

    async def _found(self, token: str) -> tuple[Trusted, Key]:
        """Return the issuer that a token names and the key of it that it names."""
        header, claims = map(_object, token.split(".")[:2])
        if REFUSED_MEMBERS & header.keys():
            raise ValueError("the header brings a key or wants an extension")
        trusted = self._issuers.get(claims["iss"])
        if trusted is None:
            raise ValueError("of an issuer that is not trusted")
        key = await trusted.keys.find(header["kid"])
        # While a key was waited for, its issuer may have lost the trust.
        if key is None or self._issuers.get(claims["iss"]) is not trusted:
            raise ValueError("signed with an unknown key")
        return trusted, key

    def _remember(self, digest: bytes, expires_at: float, principal: Principal) -> None:
        self._verified[digest] = (expires_at, principal)
        if len(self._verified) > CACHED_TOKENS:
            self._verified.popitem(last=False)


def _claims(token: str, issuer: Issuer, key: Key) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(
        token,
        key.public,
        algorithms=sorted(key.algorithms.intersection(issuer.algorithms)),
        issuer=issuer.issuer,
        audience=issuer.audiences,
        leeway=CLOCK_SKEW_SECONDS,
        options={"require": REQUIRED_CLAIMS},
    )
    for name in TIMES:
        moment = claims.get(name, 0)
        if isinstance(moment, bool) or not math.isfinite(moment):
            raise ValueError(f"{name} is no moment")
    if claims["exp"] - claims["iat"] > issuer.max_lifetime_seconds:
        raise ValueError("lives too long")
    return claims


def _object(part: str) -> dict[str, Any]:
    """Return the JSON object that a part of a token holds; raises ValueError for a part that
    can be read in more than one way.
    """
    read = strict_json.parse(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    if not isinstance(read, dict):
        raise TypeError("no object")
    return read


def _name_in(claims: dict[str, Any]) -> str:
    name: str = claims["sub"]
    # It is written to the database and to logs.
    if not 0 < len(name) <= SUBJECT_CHARACTERS_LIMIT or not name.isprintable():
        raise ValueError("the subject is no name")
    return name


def _roles_in(claims: dict[str, Any], issuer: Issuer) -> tuple[str, ...]:
    roles = [] if issuer.roles_claim is None else claims.get(issuer.roles_claim, [])
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise TypeError("the roles are no list of names")
    return tuple(roles)


def _refuse() -> NoReturn:
    raise errors.Unauthenticated(REFUSAL)
