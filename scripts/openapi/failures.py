"""With which statuses a method answers when it refuses, and what then stands in the body."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from scripts.openapi.bounds import Schema
from scripts.reference import COMMON, EVERY_METHOD, Reason
from services.gateway.edge.refusals import REFUSALS

# The statuses of google.rpc.Code over HTTP.
STATUS_OF: Mapping[str, int] = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "UNAUTHENTICATED": 401,
}
# Written down and not taken from the first reason that has the status.
_MEANING: Mapping[int, str] = {
    400: "The request, or the state of what it is about, does not allow it.",
    401: "No token, or one that was not accepted.",
    403: "The caller's roles do not grant the permission.",
    404: "Nothing is there: no such resource, or no such path.",
    405: "The path has other verbs.",
    408: "The request did not end in time.",
    409: "Somebody else was first: the name is taken, or the resource has changed.",
    413: "The body is larger than the edge lets in.",
    429: "Too many calls, of this caller or in all.",
    431: "The headers, with the query, are larger than the edge lets in.",
    499: "The call or the operation was cancelled.",
    500: "A defect.",
    501: "The service has no such method.",
    503: "A service cannot be reached. Safe to repeat under the same requestId.",
    504: "The deadline passed before the answer.",
}
_HEADERS: Mapping[int, Schema] = {
    405: {
        "allow": {
            "description": "The verbs that the path has.",
            "required": True,
            "schema": {"type": "string"},
        }
    },
    429: {
        "retry-after": {
            "description": "How many seconds to wait, where the edge itself refuses.",
            "schema": {"type": "string", "pattern": "^[0-9]+$"},
        }
    },
}


class Failures:
    """The refusals of the contract by the methods that give them."""

    def __init__(self, reasons: Sequence[Reason]) -> None:
        self._by_name = {(reason.domain, reason.name): reason for reason in reasons}
        self._common = [reason for reason in reasons if reason.given_by == (EVERY_METHOD,)]

    def components(self) -> dict[str, Schema]:
        """Return the responses that methods refer to, by their statuses."""
        of_status = _by_status(self._common)
        return {
            str(status): {
                "description": _described(meaning, of_status.get(status, [])),
                **({"headers": headers} if (headers := _HEADERS.get(status)) else {}),
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/Status"}}
                },
            }
            for status, meaning in sorted(_MEANING.items())
        }

    def reasons(self) -> dict[str, Schema]:
        """Return what each reason means, by its domain and name."""
        return {
            f"{domain}.{name}": {
                "code": reason.code,
                "status": STATUS_OF[reason.code],
                "description": reason.meaning,
                "metadata": reason.metadata,
            }
            for (domain, name), reason in sorted(self._by_name.items())
        }

    def own(self, package: str, names: Iterable[str]) -> list[Reason]:
        """Return the reasons that a method names in its policy."""
        return [
            self._by_name.get((package, name)) or self._by_name[COMMON, name]
            for name in sorted(set(names) - {"NONE"})
        ]

    def responses(self, own: Sequence[Reason], *, public: bool) -> dict[str, Schema]:
        """Return the refusals of a method that has these reasons of its own."""
        of_method = _by_status(own)
        of_all = {*_by_status(self._common), *(refusal.shown_status for refusal in REFUSALS)}
        # Who needs no permission is not refused for want of one.
        statuses = sorted({*of_method, *(of_all - {403} if public else of_all)})
        return {str(status): _response(status, of_method.get(status, [])) for status in statuses}


def _by_status(reasons: Iterable[Reason]) -> dict[int, list[Reason]]:
    found: dict[int, list[Reason]] = defaultdict(list)
    for reason in reasons:
        found[STATUS_OF[reason.code]].append(reason)
    return dict(found)


def _response(status: int, own: Sequence[Reason]) -> Schema:
    response: Schema = {"$ref": f"#/components/responses/{status}"}
    if own:
        response["description"] = _described(_MEANING[status], own)
    return response


def _described(meaning: str, reasons: Sequence[Reason]) -> str:
    names = ", ".join(f"`{reason.name}`" for reason in reasons)
    return f"{meaning} Reasons: {names}." if names else meaning
