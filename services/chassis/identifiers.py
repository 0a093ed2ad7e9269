"""Ids and resource names."""

import base64
import re
import uuid
from collections.abc import Sequence

import uuid_utils

WILDCARD = "-"


def new_uid() -> uuid.UUID:
    """Return a new UUIDv7: unique, and rising with time."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def id_of(uid: uuid.UUID) -> str:
    """Return a uid as a resource id: 26 characters of `0-9a-v` that sort as the uid does."""
    return base64.b32hexencode(uid.bytes).decode().rstrip("=").lower()


def uid_of(id_: str) -> uuid.UUID:
    """Return the uid that id_of made an id of."""
    return uuid.UUID(bytes=base64.b32hexdecode(id_.upper() + "=" * (-len(id_) % 8)))


class Pattern:
    """A pattern of resource names, such as `contacts/{contact}/interactions/{interaction}`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.variables = tuple(re.findall(r"{([a-z_]+)}", text))
        self._template = re.sub(r"{[a-z_]+}", "{}", text)
        escaped = re.escape(text).replace(r"\{", "{").replace(r"\}", "}")
        self._expression = re.compile(re.sub(r"{[a-z_]+}", "([^/]+)", escaped))

    def format(self, ids: Sequence[str]) -> str:
        """Return the name with these ids."""
        return self._template.format(*ids)

    def parse(self, name: str) -> tuple[str, ...]:
        """Return the ids in the name; raises ValueError if it is no name of this pattern."""
        found = self._expression.fullmatch(name)
        if found is None:
            raise ValueError(f"{name!r} is not of the form {self.text}")
        return found.groups()
