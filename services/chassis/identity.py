"""Who calls: principals from verified tokens, and what their roles permit."""

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Generic, TypeVar

import jwt
import structlog

from services.chassis import errors

ALGORITHMS = ("EdDSA",)
CACHED_TOKENS = 10_000
TOKEN_BYTES_LIMIT = 8192
CLOCK_SKEW_SECONDS = 30
REFUSAL = "a valid token is needed"
# What reading a file of keys or roles that is not one may raise.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError)
log = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True)
class Principal:
    """Who calls, as the token says: `subject`, and `roles` by which permissions are granted."""

    subject: str
    roles: tuple[str, ...]


# Who calls a public method, whatever token comes with it.
NOBODY = Principal("", ())


class WatchedFile(Generic[T]):
    """What a file says, read again when the file has changed; looked at once a second at most.

    A file that is gone, or changes into one that `read` refuses with one of UNREADABLE, is
    passed over: the last good value stays. At first, either is raised.
    """

    def __init__(self, path: Path, read: Callable[[bytes], T]) -> None:
        self._path = path
        self._read = read
        self._looked_at = time.monotonic()
        self._signature = self._sign()
        self.value = read(path.read_bytes())

    def _sign(self) -> tuple[int, int]:
        stat = self._path.stat()
        return stat.st_mtime_ns, stat.st_ino

    def changed(self) -> bool:
        """Whether the value is new since the last time this was asked."""
        if time.monotonic() - self._looked_at < 1:
            return False
        self._looked_at = time.monotonic()
        try:
            signature = self._sign()
            if signature == self._signature:
                return False
            content = self._path.read_bytes()
        except OSError:
            return False
        self._signature = signature
        try:
            self.value = self._read(content)
        except UNREADABLE as error:
            log.error("file_unreadable", file=self._path.name, problem=str(error))
            return False
        return True


class Tokens:
    """Verifies tokens. Verified ones are remembered until they expire or the keys change."""

    def __init__(self, jwks_file: Path, issuer: str, audience: str) -> None:
        self._keys = WatchedFile(jwks_file, _keys_of)
        self._issuer = issuer
        self._audience = audience
        self._verified: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    def verify(self, token: str) -> Principal:
        """Return whose token it is; raises Unauthenticated, always with the same text."""
        if self._keys.changed():
            self._verified.clear()
        if not token or len(token) > TOKEN_BYTES_LIMIT:
            raise errors.Unauthenticated(REFUSAL)
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is not None and known[0] > time.time():
            return known[1]
        claims = self._claims(token)
        roles = claims.get("roles", [])
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise errors.Unauthenticated(REFUSAL)
        principal = Principal(claims["sub"], tuple(roles))
        self._verified[digest] = (float(claims["exp"]), principal)
        if len(self._verified) > CACHED_TOKENS:
            self._verified.popitem(last=False)
        return principal

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            if {"jku", "x5u", "jwk", "crit"} & header.keys():
                raise errors.Unauthenticated(REFUSAL)
            return jwt.decode(
                token,
                self._keys.value[header["kid"]],
                algorithms=ALGORITHMS,
                issuer=self._issuer,
                audience=self._audience,
                leeway=CLOCK_SKEW_SECONDS,
                options={"require": ["exp", "iat", "sub", "iss", "aud"]},
            )
        # RecursionError: JSON nested without end.
        except (jwt.PyJWTError, KeyError, ValueError, TypeError, RecursionError) as error:
            raise errors.Unauthenticated(REFUSAL) from error


def _keys_of(jwks: bytes) -> dict[str, jwt.PyJWK]:
    """Return the keys by their kid; raises one of UNREADABLE."""
    keys: dict[str, jwt.PyJWK] = {}
    for entry in json.loads(jwks)["keys"]:
        if entry["kid"] in keys:
            raise ValueError(f"two keys have the kid {entry['kid']}")
        keys[entry["kid"]] = jwt.PyJWK(entry)
    return keys


class Roles:
    """What each role permits: a file of `{"roles": {role: [pattern, …]}}`, such as
    `contacts.*`, `*.read` or `*`. A role that is not there permits nothing.
    """

    def __init__(self, roles_file: Path) -> None:
        self._patterns = WatchedFile(roles_file, _patterns_of)
        self._decided: dict[tuple[tuple[str, ...], str], bool] = {}

    def require(self, principal: Principal, permission: str) -> None:
        """Raise PermissionDenied unless one of the principal's roles grants the permission."""
        if self._patterns.changed():
            self._decided.clear()
        key = (principal.roles, permission)
        granted = self._decided.get(key)
        if granted is None:
            patterns = (p for role in principal.roles for p in self._patterns.value.get(role, ()))
            granted = any(fnmatchcase(permission, pattern) for pattern in patterns)
            if len(self._decided) >= CACHED_TOKENS:
                self._decided.clear()
            self._decided[key] = granted
        if not granted:
            text = f"the permission {permission} is needed"
            raise errors.PermissionDenied(text, permission=permission)


def _patterns_of(roles_file: bytes) -> dict[str, tuple[str, ...]]:
    """Return the patterns of each role; raises one of UNREADABLE."""
    roles = json.loads(roles_file)["roles"]
    return {role: tuple(patterns) for role, patterns in roles.items()}
