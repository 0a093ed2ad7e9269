"""JSON that can be read in one way alone."""

import json
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)


def parse(text: bytes) -> Any:
    """Return what the JSON says; raises ValueError for a member given twice, for NaN and
    Infinity, and for what is no JSON or nested too deep to be read.
    """
    try:
        return json.loads(text, object_pairs_hook=_once_each, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def read_as(model: type[M], text: bytes) -> M:
    """Return what the JSON says as a model; raises ValueError, which names what is wrong."""
    try:
        return model.model_validate(parse(text))
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ValueError("; ".join(wrong)) from error


def _once_each(members: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(members)
    if len(values) < len(members):
        raise ValueError("a member is given twice")
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
