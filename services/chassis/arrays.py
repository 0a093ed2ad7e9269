"""Columns of many rows as arrays, in the text in which PostgreSQL reads them."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Boolean, Date, Dialect, Integer, LargeBinary, String, types
from sqlalchemy.dialects import postgresql

Write = Callable[[Sequence[Any]], str]


class Array(NamedTuple):
    """The type of an array, and how its values are written; null is None."""

    type: postgresql.ARRAY[Any]
    write: Write


def array_of(column_type: types.TypeEngine[Any], dialect: Dialect) -> Array:
    """Return the array of a column's type; raises TypeError for one that no table here has."""
    if isinstance(column_type, types.TypeDecorator):
        item: types.TypeEngine[Any] = column_type.load_dialect_impl(dialect)
    else:
        item = column_type.dialect_impl(dialect)
    for kind, write in _WRITERS:
        if isinstance(item, kind):
            # Without the collation, which an array cannot have.
            return Array(postgresql.ARRAY(types.Text() if kind is String else item), write)
    raise TypeError(f"{column_type!r} has no array")


def _texts(values: Sequence[str | None]) -> str:
    if None not in values:
        joined = "\0".join(values)  # type: ignore[arg-type]
        if joined.count("\0") == len(values) - 1:
            # All at once is several times faster than one by one.
            return "{" + _quoted(joined).replace("\0", '","') + "}"
    # With a null, or a NUL, which the driver refuses.
    return _braced([None if value is None else _quoted(value) for value in values])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _braced(written: Sequence[str | None]) -> str:
    return "{" + ",".join(["NULL" if one is None else one for one in written]) + "}"


def _numbers(values: Sequence[int | None]) -> str:
    return _braced([None if value is None else str(value) for value in values])


def _in_iso(values: Sequence[Any]) -> str:
    # Most rows of a set have one time.
    known = {value: value and value.isoformat() for value in set(values)}
    return _braced([known[value] for value in values])


def _times(values: Sequence[datetime | None]) -> str:
    if any(value is not None and value.tzinfo is None for value in values):
        raise ValueError("a time without a zone")
    return _in_iso(values)


def _bytes(values: Sequence[bytes | None]) -> str:
    return _texts([None if value is None else "\\x" + value.hex() for value in values])


def _jsons(values: Sequence[Any]) -> str:
    return _texts([None if value is None else _json(value) for value in values])


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # With whole numbers of more than 64 bits.
        return json.dumps(value)


# The first that fits; a truth value is no number, and a date no time.
_WRITERS: Sequence[tuple[type[types.TypeEngine[Any]], Write]] = (
    (String, _texts),
    (Boolean, _numbers),
    (Integer, _numbers),
    (types.DateTime, _times),
    (Date, _in_iso),
    (LargeBinary, _bytes),
    (types.JSON, _jsons),
)
