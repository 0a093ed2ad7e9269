"""Serves access: API keys, the tokens they are exchanged for, and roles."""

import secrets
from collections.abc import Sequence

import structlog

from services.chassis.call import Call
from services.chassis.database import Database
from services.chassis.errors import Refusal, ResourceNotFound, Unauthenticated
from services.chassis.identifiers import id_of, new_uid
from services.chassis.identity import Principal
from services.chassis.pages import DEFAULT_SIZE, LARGEST_SIZE, Cursor
from services.chassis.preparing import Draft
from services.chassis.roles import Role, Roles
from services.chassis.rows import Row
from services.chassis.standard import Standard, Std
from services.chassis.steps import change, get, insert
from services.chassis.transaction import Transaction
from services.gateway import errors, queries
from services.gateway.issuer import TokenIssuer
from services.gateway.resources import API_KEY
from services.gateway.rules.granting import first_excess
from services.gateway.rules.secrets import (
    RANDOM_BYTES,
    hash_of,
    is_secret_of,
    key_id_of,
    new_secret,
)
from vafa.gateway.v1 import access_pb2

log = structlog.get_logger()
ApiKey = access_pb2.ApiKey
ROLE_PREFIX = "roles/"
REFUSAL = "no API key of that secret can be exchanged"


class Access(Standard):
    """Serves vafa.gateway.v1.AccessService."""

    resource = API_KEY
    methods = frozenset({Std.GET, Std.LIST})

    def __init__(self, database: Database, roles: Roles, issuer: TokenIssuer | None) -> None:
        super().__init__(database)
        self._roles = roles
        self._issuer = issuer

    async def CreateApiKey(
        self, request: access_pb2.CreateApiKeyRequest, call: Call
    ) -> access_pb2.CreateApiKeyResponse:
        """Make a key with roles that the caller has, and tell its secret this once."""
        api_key_id = request.api_key_id or id_of(new_uid())
        refusal = self._refusal_to_give(request.api_key.roles, api_key_id, call.principal)
        secret = new_secret(api_key_id, secrets.token_bytes(RANDOM_BYTES))
        columns = {
            "state": ApiKey.STATE_ACTIVE,
            "revoke_time": None,
            "creator": call.principal.subject,
            "secret_hash": hash_of(secret),
        }
        draft = Draft(request.api_key, "api_key.", id=api_key_id, extra=columns)

        def work(transaction: Transaction) -> access_pb2.CreateApiKeyResponse:
            # Not before: a repeat gets the first answer, whatever the roles grant by now.
            if refusal is not None:
                raise refusal
            [created] = insert(transaction, API_KEY, [draft])
            return access_pb2.CreateApiKeyResponse(api_key=created, secret=secret)

        return await self.database.write(call, work)

    async def RevokeApiKey(self, request: access_pb2.RevokeApiKeyRequest, call: Call) -> ApiKey:
        """Take a key out of use for ever."""

        def work(transaction: Transaction) -> ApiKey:
            row = get(transaction.connection, API_KEY, request.name, lock=True)
            if row["state"] == ApiKey.STATE_REVOKED:
                return API_KEY.to_message(row)
            values = {"state": ApiKey.STATE_REVOKED, "revoke_time": transaction.now}
            return change(transaction, API_KEY, row, values, "revoked", [*values])

        return await self.database.write(call, work)

    async def ExchangeApiKey(
        self, request: access_pb2.ExchangeApiKeyRequest, _call: Call
    ) -> access_pb2.AccessToken:
        """Give a token for the secret of a key in use; say nothing of why there is none."""
        if self._issuer is None:
            raise errors.TokensNotIssued
        api_key_id = key_id_of(request.secret)
        row = await self.database.read(lambda c: queries.find_api_key(c, api_key_id))
        is_genuine = is_secret_of(request.secret, row["secret_hash"] if row else None)
        if row is None or not is_genuine:
            raise Unauthenticated(REFUSAL)
        token = _token(self._issuer, row)
        if token is None:
            # The owner of the key is not told either; who looks after the suite is.
            log.warning("api_key_refused", api_key=API_KEY.name_of(row))
            raise Unauthenticated(REFUSAL)
        log.info("api_key_exchanged", api_key=API_KEY.name_of(row))
        return token

    async def GetJsonWebKeySet(
        self, _request: access_pb2.GetJsonWebKeySetRequest, _call: Call
    ) -> access_pb2.JsonWebKeySet:
        """Publish the keys to check tokens by."""
        return access_pb2.JsonWebKeySet() if self._issuer is None else self._issuer.key_set()

    async def GetRole(self, request: access_pb2.GetRoleRequest, _call: Call) -> access_pb2.Role:
        """Find a role by its name."""
        role = self._roles.by_name().get(_bare(request.name))
        if role is None:
            raise ResourceNotFound(request.name)
        return _role_message(_bare(request.name), role)

    async def ListRoles(
        self, request: access_pb2.ListRolesRequest, _call: Call
    ) -> access_pb2.ListRolesResponse:
        """List the roles by their names."""
        cursor = Cursor(self.database.store.page_token_key, ("roles",))
        after = cursor.read(request.page_token, [str])[0] if request.page_token else ""
        size = min(request.page_size or DEFAULT_SIZE, LARGEST_SIZE)
        found = [(name, role) for name, role in self._roles.by_name().items() if name > after]
        return access_pb2.ListRolesResponse(
            roles=[_role_message(name, role) for name, role in found[:size]],
            next_page_token=cursor.write([found[size - 1][0]]) if len(found) > size else "",
        )

    def _refusal_to_give(
        self, role_names: Sequence[str], api_key_id: str, giver: Principal
    ) -> Refusal | None:
        """Return why the giver may not make a key of that id with these roles, if they may not."""
        defined = self._roles.by_name()
        for n, name in enumerate(role_names):
            if _bare(name) not in defined:
                return errors.RoleUnknown(name, f"api_key.roles[{n}]")
        held = self._roles.of(giver)
        # The roles file may bind roles to the subject that the key will be.
        subject = API_KEY.pattern.format([api_key_id])
        bound = self._roles.of(Principal(subject, ()))
        given = {name: defined[_bare(name)].granted() for name in role_names}
        given |= {ROLE_PREFIX + n: defined[n].granted() for n in sorted(bound) if n in defined}
        excess = first_excess(given, lambda permission: self._roles.permit(held, permission))
        return errors.RoleNotGranted(*excess) if excess else None


def _token(issuer: TokenIssuer, row: Row) -> access_pb2.AccessToken | None:
    """Return a token of an API key, None for one that is revoked or has expired."""
    if row["state"] != ApiKey.STATE_ACTIVE:
        return None
    return issuer.token(API_KEY.name_of(row), map(_bare, row["roles"]), row["expire_time"])


def _bare(role_name: str) -> str:
    return role_name.removeprefix(ROLE_PREFIX)


def _role_message(name: str, role: Role) -> access_pb2.Role:
    return access_pb2.Role(
        name=ROLE_PREFIX + name,
        description=role.description,
        patterns=role.permissions,
        permissions=role.granted(),
    )
