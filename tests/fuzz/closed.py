"""The document, with nothing allowed that it does not name.

In the published one an object may hold more, since fields come with time. Closed, it makes no
requests with unknown fields, which are passed over, and finds answers that say more than it.
"""

from collections.abc import Iterator
from typing import Any

_VERBS = {"get", "post", "patch", "delete"}


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with every object closed, but for those that stand in an Any and so
    bear a `@type` beside their fields.
    """
    schemas = document["components"]["schemas"]
    tagged = set(_tagged(document))
    components = {
        name: schema if name in tagged else _closed(schema) for name, schema in schemas.items()
    }
    paths = _closed(document["paths"])
    return {
        **document,
        "paths": paths,
        "components": {**document["components"], "schemas": components},
    }


def _closed(value: Any) -> Any:
    if isinstance(value, list):
        return [_closed(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _closed(inner) for key, inner in value.items()}
    if value.get("type") == "object" and "additionalProperties" not in value:
        found["additionalProperties"] = False
    return found


def _tagged(document: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the schemas that an answer has in an Any."""
    for item in document["paths"].values():
        for verb in item.keys() & _VERBS:
            answer = item[verb]["responses"]["200"]["content"]["application/json"]["schema"]
            for schema in answer.get("properties", {}).values():
                yield schema["$ref"].rpartition("/")[2]
