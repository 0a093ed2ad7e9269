"""Ids and resource names."""

import re
import uuid
from collections.abc import Sequence

import uuid_utils

WILDCARD = "-"
DIGITS = "0123456789abcdefghijklmnopqrstuv"
# A uid and two bits of nothing are 13 times ten bits, each two digits.
PAIRS = [first + second for first in DIGITS for second in DIGITS]
SHIFTS = range(120, -1, -10)
ID_OF_UID = re.compile(f"[{DIGITS}]{{25}}[048cgkos]")


def new_uid() -> uuid.UUID:
    """Return a new UUIDv7: unique, and rising with time."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def new_request_id() -> str:
    """Return a new UUIDv7 as text."""
    return str(uuid_utils.uuid7())


def id_of(uid: uuid.UUID) -> str:
    """Return a uid as a resource id: 26 characters of `0-9a-v` that sort as the uid does."""
    bits = uid.int << 2
    return "".join([PAIRS[bits >> shift & 0x3FF] for shift in SHIFTS])


def uid_of(id_: str) -> uuid.UUID:
    """Return the uid that id_of made an id of; raises ValueError for another text."""
    if not ID_OF_UID.fullmatch(id_):
        raise ValueError(f"{id_!r} is not the id of a uid")
    return uuid.UUID(int=int(id_, 32) >> 2)


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
