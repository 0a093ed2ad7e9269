"""What callers may do: roles, what they grant, and who has them beside those of the token."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import structlog
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from services.chassis import errors, strict_json
from services.chassis.contract import contract_permissions
from services.chassis.identity import Principal
from services.chassis.watched_file import WatchedFile

# For how many sets of roles and permissions it is remembered what was decided.
DECISIONS = 10_000
RoleName = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
# A permission, or one with `*` in place of the noun, of the verb or of both.
Pattern = Annotated[str, StringConstraints(pattern=r"^(\*|([a-z_]+|\*)\.([a-z_]+|\*))$")]
log = structlog.get_logger()


def grants(patterns: Sequence[str], permission: str) -> bool:
    """Whether one of the patterns, such as `contacts.*`, `*.read` or `*`, is of the permission."""
    return any(fnmatchcase(permission, pattern) for pattern in patterns)


class Role(BaseModel):
    """A role: what it is for, in English, and the patterns of the permissions it grants."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    description: Annotated[str, StringConstraints(min_length=1)]
    permissions: Annotated[list[Pattern], Field(max_length=100)]

    @model_validator(mode="after")
    def _grants_something_known(self) -> "Role":
        known = contract_permissions()
        for pattern in self.permissions:
            if not any(grants([pattern], permission) for permission in known):
                raise ValueError(f"{pattern} is no permission of the contract")
        return self

    def granted(self) -> tuple[str, ...]:
        """Return the permissions of the contract that the role grants, sorted."""
        return tuple(p for p in contract_permissions() if grants(self.permissions, p))


class Binding(BaseModel):
    """Roles of one subject, which is written with the prefix of its issuer, if it has one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    subject: Annotated[str, StringConstraints(min_length=1)]
    roles: list[RoleName]


class RolesFile(BaseModel):
    """What a file of roles says. `version` is the deployment's own mark, told in the log."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Annotated[str, StringConstraints(min_length=1)]
    roles: dict[RoleName, Role]
    bindings: list[Binding] = []

    @model_validator(mode="after")
    def _bindings_name_roles_that_are_there(self) -> "RolesFile":
        for binding in self.bindings:
            unknown = sorted(set(binding.roles) - self.roles.keys())
            if unknown:
                raise ValueError(f"{binding.subject} is bound to {unknown[0]}, which is no role")
        return self


@dataclass(frozen=True)
class _Defined:
    """What the file defines: roles by name, and the roles of each bound subject."""

    roles: Mapping[str, Role]
    bound: Mapping[str, frozenset[str]]


class Roles:
    """The roles of a file, which is read again when it changes. See RolesFile for what it says;
    a role that is not there grants nothing, and a subject without roles may do nothing.
    """

    def __init__(self, roles_file: Path) -> None:
        """Raise one of UNREADABLE for what is no file of roles."""
        self._file = WatchedFile(roles_file, _defined_by)
        self._decided: dict[tuple[frozenset[str], str], bool] = {}

    def require(self, principal: Principal, permission: str) -> None:
        """Raise PermissionDenied unless one of the principal's roles grants the permission."""
        if not self.permit(self.of(principal), permission):
            text = f"the permission {permission} is needed"
            raise errors.PermissionDenied(text, permission=permission)

    def of(self, principal: Principal) -> frozenset[str]:
        """Return the names of all roles of a principal: those of its token and its bindings."""
        return self._defined().bound.get(principal.subject, frozenset()).union(principal.roles)

    def permit(self, names: frozenset[str], permission: str) -> bool:
        """Whether one of the roles of these names grants the permission."""
        roles = self._defined().roles
        granted = self._decided.get((names, permission))
        if granted is None:
            held = (roles[name] for name in names if name in roles)
            granted = any(grants(role.permissions, permission) for role in held)
            if len(self._decided) >= DECISIONS:
                self._decided.clear()
            self._decided[names, permission] = granted
        return granted

    def by_name(self) -> Mapping[str, Role]:
        """Return the roles that are defined, by their names, sorted."""
        return self._defined().roles

    def _defined(self) -> _Defined:
        if self._file.changed():
            self._decided.clear()
        return self._file.value


def _defined_by(content: bytes) -> _Defined:
    file = strict_json.read_as(RolesFile, content)
    bound: dict[str, frozenset[str]] = {}
    for binding in file.bindings:
        bound[binding.subject] = bound.get(binding.subject, frozenset()).union(binding.roles)
    log.info("roles_read", version=file.version, roles=len(file.roles), bindings=len(bound))
    return _Defined(roles=dict(sorted(file.roles.items())), bound=bound)
