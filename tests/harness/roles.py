"""Files of roles, written for a test."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_roles(
    path: Path,
    permissions_by_role: Mapping[str, Sequence[str]],
    bindings: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Replace a file by one of these roles and of these bindings, roles by subject."""
    content = {
        "version": "of a test",
        "roles": {
            role: {"description": f"The {role} of a test.", "permissions": list(permissions)}
            for role, permissions in permissions_by_role.items()
        },
        "bindings": [
            {"subject": subject, "roles": list(roles)}
            for subject, roles in (bindings or {}).items()
        ],
    }
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content))
    fresh.replace(path)
    return path
