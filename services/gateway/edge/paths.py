"""Paths of google.api.http as Envoy matches them."""

import re

from services.gateway.edge.envoy import Config


def shape(template: str) -> str:
    """Return a path without the names of its variables: `/v1/{name=contacts/*}` is
    `/v1/contacts/*`. Methods whose paths have one shape share the path.
    """
    return re.sub(r"\{[^=}]+(?:=([^}]+))?\}", lambda found: found[1] or "*", template)


def of_service(path: str, service: str) -> str:
    """Return the shape of a path to what one service has of a thing that every service has: its
    feed, or its operations.
    """
    return path.replace("feeds/*", f"feeds/{service}").replace(
        "operations/**", f"operations/{service}-*"
    )


def path_match(path: str) -> Config:
    """Return the match of a path of this shape. `*` is one segment, `**` all the rest."""
    if "*" not in path:
        return {"path": path}
    wild = {"**": ".+", "*": "[^/]+"}
    parts = (wild.get(part, re.escape(part)) for part in re.split(r"(\*\*?)", path))
    return {"safe_regex": {"regex": "".join(parts)}}


def specificity(path: str) -> tuple[bool, int, int]:
    """Order shapes so that of two that match one path, the narrower comes first."""
    verb = ":" in path
    return (not verb, path.count("*"), -len(path))
