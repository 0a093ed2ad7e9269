"""Nobody gives what they do not have."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Excess(NamedTuple):
    """A permission of a role that whoever gives the role is not granted."""

    role: str
    permission: str


def first_excess(
    given: Mapping[str, Sequence[str]], is_granted: Callable[[str], bool]
) -> Excess | None:
    """Return the first permission of the given roles that the giver is not granted."""
    for role, permissions in given.items():
        for permission in permissions:
            if not is_granted(permission):
                return Excess(role, permission)
    return None
