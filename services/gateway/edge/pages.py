"""The pages that the edge serves by itself: the OpenAPI document and its page for people."""

from services.gateway.edge.envoy import Config, inline
from services.gateway.edge.filters import ANSWERED_HERE
from services.gateway.edge.openapi_pages import Page, pages


def page_routes() -> list[Config]:
    """Return the routes of the pages."""
    return [_route(page) for page in pages()]


def largest_page_bytes() -> int:
    """Return the size of the largest page: Envoy wants to know how much it may hold."""
    return max(len(page.body.encode()) for page in pages())


def _route(page: Page) -> Config:
    headers = {
        "content-type": page.content_type,
        "content-security-policy": page.security_policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
    return {
        "name": page.path,
        "match": {
            "path": page.path,
            "headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
        },
        "direct_response": {"status": 200, "body": inline(page.body)},
        "response_headers_to_add": [
            {
                "header": {"key": name, "value": value},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
            for name, value in headers.items()
        ],
        "typed_per_filter_config": ANSWERED_HERE,
    }
