"""Who calls: principals from verified tokens, and what their roles permit."""

import hashlib
import json
import time
from collections import OrderedDict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Principal:
    """Who calls, as the token says: `subject`, and `roles` by which permissions are granted."""

    subject: str
    roles: tuple[str, ...]


class WatchedFile:
    """A file's content, read again when the file has changed; looked at once a second at most.

    A file that is gone or cannot be read keeps its last good content.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signature: tuple[int, int] | None = None
        self._looked_at = 0.0
        self._content = b""

    def changed(self) -> bool:
        """Whether the content is new since the last time this was asked."""
        if self._signature and time.monotonic() - self._looked_at < 1:
            return False
        self._looked_at = time.monotonic()
        try:
            stat = self._path.stat()
            signature = (stat.st_mtime_ns, stat.st_ino)
            if signature == self._signature:
                return False
            self._content = self._path.read_bytes()
        except OSError:
            if self._signature is None:
                raise
            return False
        self._signature = signature
        return True

    @property
    def content(self) -> bytes:
        """The content as it was last read."""
        return self._content


class Tokens:
    """Verifies tokens. Verified ones are remembered until they expire or the keys change.

    A file that changes into one without good keys is passed over: the last good keys stay.
    """

    def __init__(self, jwks_file: Path, issuer: str, audience: str) -> None:
        self._file = WatchedFile(jwks_file)
        self._issuer = issuer
        self._audience = audience
        self._keys: dict[str, jwt.PyJWK] = {}
        self._verified: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        if self._file.changed():
            self._keys = _keys_of(self._file.content)

    def _renew_keys(self) -> None:
        if not self._file.changed():
            return
        try:
            self._keys = _keys_of(self._file.content)
        except UNREADABLE as error:
            log.error("keys_unreadable", problem=str(error))
            return
        self._verified.clear()

    def verify(self, token: str) -> Principal:
        """Return whose token it is; raises Unauthenticated, always with the same text."""
        self._renew_keys()
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
                self._keys[header["kid"]],
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

    A file that changes into one without roles is passed over: the last good ones stay.
    """

    def __init__(self, roles_file: Path) -> None:
        self._file = WatchedFile(roles_file)
        self._patterns: dict[str, tuple[str, ...]] = {}
        self._decided: dict[tuple[tuple[str, ...], str], bool] = {}
        if self._file.changed():
            self._patterns = _patterns_of(self._file.content)

    def _renew(self) -> None:
        if not self._file.changed():
            return
        try:
            self._patterns = _patterns_of(self._file.content)
        except UNREADABLE as error:
            log.error("roles_unreadable", problem=str(error))
            return
        self._decided.clear()

    def require(self, principal: Principal, permission: str) -> None:
        """Raise PermissionDenied unless one of the principal's roles grants the permission."""
        self._renew()
        key = (principal.roles, permission)
        granted = self._decided.get(key)
        if granted is None:
            patterns = (p for role in principal.roles for p in self._patterns.get(role, ()))
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
