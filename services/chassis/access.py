"""Access to one method: who calls, and whether they may."""

import time
from typing import Any, TypeAlias

import grpc

from services.chassis.call_log import Outcome
from services.chassis.identity import NOBODY, Principal
from services.chassis.policy import Method
from services.chassis.roles import Roles
from services.chassis.tokens import Tokens

# For so long a caller who was let in is let in again unasked: much less than the second within
# which changed files of keys, issuers and roles are looked at.
REMEMBERED_SECONDS = 0.1
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def token_of(context: Context) -> str:
    """Return the token of a call; "" unless it has just one."""
    found: object = None
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            if found is not None:
                return ""
            found = value
    scheme, _, token = str(found).partition(" ")
    return token if scheme.lower() == "bearer" else ""


class Access:
    """Lets callers in to a method; a public one lets in everybody, and knows nobody."""

    def __init__(self, tokens: Tokens, roles: Roles, method: Method) -> None:
        self._tokens = tokens
        self._roles = roles
        self._is_public = method.public
        self._permission = method.permission
        self._let_in: dict[str, Principal] = {}
        self._forget_at = 0.0

    async def allow(self, token: str, outcome: Outcome) -> Principal:
        """Return who calls, if they may now, and note it; raises Unauthenticated and
        PermissionDenied.
        """
        if self._is_public:
            return NOBODY
        now = time.monotonic()
        if now >= self._forget_at:
            self._let_in.clear()
            self._forget_at = now + REMEMBERED_SECONDS
        principal = self._let_in.get(token)
        if principal is not None:
            outcome.principal = principal.subject
            return principal
        principal = await self._tokens.verify(token)
        outcome.principal = principal.subject
        self._roles.require(principal, self._permission)
        self._let_in[token] = principal
        return principal
