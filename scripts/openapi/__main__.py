"""The command line of this package."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.contract import ROOT
from scripts.openapi.document import document

TARGET = ROOT / "services" / "gateway" / "edge" / "openapi.json"


def render() -> str:
    """Return the document as it is committed: a line for each operation and each schema."""
    return _rendered(document(), levels=3) + "\n"


def _rendered(value: Any, levels: int) -> str:
    if not levels or not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    lines = [f"{json.dumps(key)}:{_rendered(inner, levels - 1)}" for key, inner in value.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def renew(target: Path, *, only_check: bool) -> bool:
    """Write the document if it differs, unless it is only a check; return whether it did."""
    text = render()
    if target.exists() and target.read_text() == text:
        return False
    if not only_check:
        target.write_text(text)
    return True


def main(arguments: Sequence[str]) -> int:
    """Renew the document, or check it; return the exit code."""
    only_check = list(arguments) == ["--check"]
    if arguments and not only_check:
        print("usage: python -m scripts.openapi [--check]", file=sys.stderr)
        return 2
    differs = renew(TARGET, only_check=only_check)
    if differs:
        what = "differs: run python -m scripts.openapi" if only_check else "renewed"
        print(f"{TARGET.relative_to(ROOT)} {what}")
    return int(only_check and differs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
