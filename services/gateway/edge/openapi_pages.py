"""The pages that the edge itself gives: the OpenAPI document, and its reading for people."""

import hashlib
import re
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_INLINE = re.compile(r"<(?P<tag>script|style)>(?P<text>.*?)</(?P=tag)>", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """A page under a path: anybody may read it, and its policy lets in nothing from elsewhere."""

    path: str
    content_type: str
    security_policy: str
    body: str


def pages() -> tuple[Page, ...]:
    """Return the pages of the edge."""
    document = (_HERE / "openapi.json").read_text(encoding="utf-8")
    docs = (_HERE / "docs.html").read_text(encoding="utf-8")
    return (
        Page("/openapi.json", "application/json", "default-src 'none'", document),
        Page("/docs", "text/html; charset=utf-8", _policy_of(docs), docs),
    )


def _policy_of(html: str) -> str:
    """Return the policy under which the scripts and styles within a page work, and no others."""
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for inline in _INLINE.finditer(html):
        digest = b64encode(hashlib.sha256(inline["text"].encode()).digest()).decode()
        hashes[inline["tag"]].append(f"'sha256-{digest}'")
    own = [f"{tag}-src {' '.join(found)}" for tag, found in hashes.items()]
    return "; ".join(
        [
            "default-src 'none'",
            *own,
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
