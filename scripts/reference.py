"""Writes the pages that are drawn from the code: errors, metrics, permissions, roles, deadlines.

`python scripts/reference.py` renews them; with `--check` it fails if one would change.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2

from services.chassis import strict_json
from services.chassis.metrics import Metrics
from services.chassis.operations import operations_methods
from services.chassis.roles import Role, RolesFile, grants
from vafa.api.v1 import policy_pb2
from vafa.policy import CALL_DEFAULTS, RETRY_POLICY, CallDefaults, service_config

ROOT = Path(__file__).resolve().parent.parent
ROLES_FILE = ROOT / "services" / "roles.json"
# Run as a file, it finds what lies beside it but not the folder that both lie in.
sys.path.insert(0, str(ROOT))
from scripts.contract import build_image  # noqa: E402

COMMON = "vafa.api.v1"
EVERY_METHOD = "every method"
PUBLIC = "none, public"
# The numbers of fields in descriptor.proto, of which the paths of comments are made.
ENUM_TYPE, VALUE = (
    descriptor_pb2.FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER,
    descriptor_pb2.EnumDescriptorProto.VALUE_FIELD_NUMBER,
)


@dataclass(frozen=True)
class Method:
    """A method as the permissions page shows it."""

    service: str
    name: str
    permission: str
    deadline_seconds: float
    effect: str
    http: str
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reason:
    """A reason as the errors page shows it. `given_by` are methods, or EVERY_METHOD alone."""

    domain: str
    name: str
    code: str
    meaning: str
    metadata: str
    given_by: tuple[str, ...]


def contract() -> descriptor_pb2.FileDescriptorSet:
    """Return the files of the contract with their comments."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "contract.binpb"
        build_image(ROOT / "proto", image)
        files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    return descriptor_pb2.FileDescriptorSet(
        file=sorted(
            (file for file in files.file if file.package.startswith("vafa.")),
            key=lambda file: file.name,
        )
    )


def methods_of(files: descriptor_pb2.FileDescriptorSet) -> list[Method]:
    """Return every method that the suite serves, in the order of the contract."""
    found: list[Method] = []
    for file in files.file:
        for service in file.service:
            for method in service.method:
                policy = method.options.Extensions[policy_pb2.policy]
                effect = policy_pb2.Effect.Name(policy.effect).removeprefix("EFFECT_").lower()
                found.append(
                    Method(
                        service=f"{file.package}.{service.name}",
                        name=method.name,
                        permission=policy.permission,
                        deadline_seconds=policy.deadline.ToTimedelta().total_seconds(),
                        effect=effect,
                        http=_http(method.options.Extensions[annotations_pb2.http]),
                        failures=tuple(policy.failures),
                    )
                )
    # Somebody else's contract: the chassis states the policy of its methods.
    for served in operations_methods():
        options = served.descriptor.GetOptions()
        found.append(
            Method(
                service=served.service,
                name=served.name,
                permission=served.permission,
                deadline_seconds=served.deadline_seconds,
                effect="write" if served.writes else "read",
                http=_http(options.Extensions[annotations_pb2.http]),
                failures=tuple(sorted(served.failures)),
            )
        )
    return found


def _http(rule: http_pb2.HttpRule) -> str:
    verb = rule.WhichOneof("pattern")
    return f"`{verb.upper()} {getattr(rule, verb)}`" if verb else ""


def reasons_of(files: descriptor_pb2.FileDescriptorSet, methods: Sequence[Method]) -> list[Reason]:
    """Return every reason that a call may be refused with; raises ValueError for a comment
    that does not begin with its canonical code, and for a failure that no enum has.
    """
    enums = {file.package: file for file in files.file if _reason_enum(file) is not None}
    givers: dict[tuple[str, str], list[str]] = {}
    for method in methods:
        package = method.service.rpartition(".")[0]
        for failure in method.failures:
            if failure == "NONE":
                continue
            domains = [d for d in (package, COMMON) if d in enums and _has(enums[d], failure)]
            if not domains:
                raise ValueError(f"{method.service}.{method.name}: no reason {failure}")
            short = f"{method.service.rpartition('.')[2]}.{method.name}"
            givers.setdefault((domains[0], failure), []).append(short)
    return [reason for file in enums.values() for reason in _reasons_of_file(file, givers)]


def _reason_enum(file: descriptor_pb2.FileDescriptorProto) -> int | None:
    names = [enum.name for enum in file.enum_type]
    return names.index("ErrorReason") if "ErrorReason" in names else None


def _has(file: descriptor_pb2.FileDescriptorProto, reason: str) -> bool:
    enum = file.enum_type[_reason_enum(file) or 0]
    return reason in (value.name for value in enum.value)


def _reasons_of_file(
    file: descriptor_pb2.FileDescriptorProto, givers: Mapping[tuple[str, str], Sequence[str]]
) -> Iterator[Reason]:
    place = _reason_enum(file) or 0
    comments = {tuple(one.path): one for one in file.source_code_info.location}
    of_every_method = False
    for n, value in enumerate(file.enum_type[place].value):
        comment = comments[ENUM_TYPE, place, VALUE, n]
        for heading in comment.leading_detached_comments:
            of_every_method = heading.strip().endswith("any method.")
        if value.number == 0:
            continue
        code, dot, text = _one_line(comment.leading_comments).partition(". ")
        if not dot or not code.replace("_", "").isupper():
            raise ValueError(f"{file.package}.{value.name}: its comment names no code")
        meaning, _, metadata = text.partition("Metadata: ")
        own = tuple(givers.get((file.package, value.name), ()))
        yield Reason(
            domain=file.package,
            name=value.name,
            code=code,
            meaning=meaning.strip(),
            metadata=metadata.rstrip(".").replace("none", ""),
            given_by=(EVERY_METHOD,) if of_every_method else own,
        )


def _one_line(comment: str) -> str:
    return " ".join(comment.split())


def errors_page(reasons: Sequence[Reason]) -> str:
    """Return docs/errors.md."""
    parts = [
        "# Errors",
        _RENEWED,
        "A call that is refused ends with a canonical code and one `google.rpc.ErrorInfo`: a"
        " `reason` and the `domain` that it belongs to. `BadRequest` names the fields that are"
        " to blame. Act on the reason; the text is for people.",
    ]
    for domain in dict.fromkeys(reason.domain for reason in reasons):
        rows = [
            (
                f"`{reason.name}`",
                reason.code,
                reason.meaning,
                reason.metadata,
                ", ".join(
                    name if name == EVERY_METHOD else f"`{name}`" for name in reason.given_by
                ),
            )
            for reason in reasons
            if reason.domain == domain
        ]
        parts += [f"## `{domain}`", _table(_ERROR_COLUMNS, rows)]
    return _page(parts)


_ERROR_COLUMNS = ("Reason", "Code", "Meaning", "Metadata", "Given by")


def permissions_page(methods: Sequence[Method]) -> str:
    """Return docs/api/permissions.md."""
    parts = [
        "# Methods and what they need",
        _RENEWED,
        "The caller's roles must grant the permission. The deadline is the longest that the"
        " service works for one call, and that of a caller who sets none. A read may be repeated"
        " at will, a write under its `request_id`.",
    ]
    for service in dict.fromkeys(method.service for method in methods):
        rows = [
            (
                f"`{method.name}`",
                f"`{method.permission}`" if method.permission else PUBLIC,
                f"{method.deadline_seconds:g} s",
                method.effect,
                method.http,
            )
            for method in methods
            if method.service == service
        ]
        parts += [f"## `{service}`", _table(_PERMISSION_COLUMNS, rows)]
    return _page(parts)


_PERMISSION_COLUMNS = ("Method", "Permission", "Deadline", "Effect", "HTTP")


def roles_page(methods: Sequence[Method], roles: Mapping[str, Role]) -> str:
    """Return docs/api/roles.md: which role may call which method."""
    described = [
        (f"`{name}`", role.description, ", ".join(f"`{one}`" for one in role.permissions))
        for name, role in roles.items()
    ]
    parts = ["# Roles", _RENEWED, _ROLES, _table(("Role", "For", "Permissions"), described)]
    columns = ("Method", "Permission", *(f"`{name}`" for name in roles))
    for service in dict.fromkeys(method.service for method in methods):
        rows = [
            (
                f"`{method.name}`",
                f"`{method.permission}`" if method.permission else PUBLIC,
                *(_may_call(role, method) for role in roles.values()),
            )
            for method in methods
            if method.service == service
        ]
        parts += [f"## `{service}`", _table(columns, rows)]
    return _page(parts)


def _may_call(role: Role, method: Method) -> str:
    is_let_in = not method.permission or grants(role.permissions, method.permission)
    return "yes" if is_let_in else "·"


_ROLES = """\
The roles of `services/roles.json`, and which methods each may call. A deployment mounts a file of
its own in place of that one, under the setting `roles_file` of every service; a change of it holds
within two seconds. Its `bindings` give roles to the subjects of issuers whose tokens carry none. A
subject without roles may call public methods alone, which anybody may, without a token.

A role that names a permission which the contract does not have makes the file unreadable, and so
does a binding to a role that is not there: a service does not start with it, and one that runs
keeps what it knew. So bring new services before the file that names their permissions."""


def deadlines_page(methods: Sequence[Method]) -> str:
    """Return docs/api/deadlines.md."""
    parts = ["# Deadlines and repeats", _RENEWED, _DEADLINES.format(**RETRY_POLICY)]
    parts.append(_table(("Code", "What to do"), _CODES))
    for service in dict.fromkeys(method.service for method in methods):
        rows = [
            (
                f"`{method.name}`",
                f"{method.deadline_seconds:g} s",
                *_repeat(CALL_DEFAULTS[f"/{service}/{method.name}"]),
            )
            for method in methods
            if method.service == service
        ]
        parts += [f"## `{service}`", _table(_DEADLINE_COLUMNS, rows)]
    return _page(parts)


def _repeat(call: CallDefaults) -> tuple[str, str]:
    """Return how a call is repeated, and after which codes."""
    codes = ", ".join(RETRY_POLICY["retryableStatusCodes"])
    if call.deadline_seconds is None:
        return "go on from the last cursor", codes
    if call.takes_request_id:
        return "under the same `request_id`", codes
    return ("at will", codes) if call.retried else ("ask how it stands first", "none")


_DEADLINE_COLUMNS = ("Method", "Deadline", "Repeat", "By the client, after")
_DEADLINES = """\
The deadline is the longest that a service works for one call. Set it on every call, or less; a
stream lasts until you leave it or until the hour after which the service ends it.

A read may be repeated at will. A write may be repeated under the `request_id` of its first try:
the answer is the first one, and nothing happens twice. **Give every write a `request_id` of its
own, a UUID, before you repeat it or let anything repeat it**: without one a repeat is another
write. The Python client does so by itself.

[service_config.json](service_config.json) says the same to every gRPC library that reads a
service config (`grpc.service_config`, `WithDefaultServiceConfig`, `defaultServiceConfig`):
deadlines, and at most {maxAttempts} tries within them, after pauses of {initialBackoff} and then
twice as long each time, up to {maxBackoff}, with some chance in each. Over JSON do it yourself:
HTTP 503 is UNAVAILABLE. The edge repeats no write."""
_CODES = (
    ("UNAVAILABLE", "Repeat after a pause: reads, and writes under the same `request_id`"),
    ("CANCELLED, by a server that stops", "The same"),
    (
        "DEADLINE_EXCEEDED",
        "A write may have happened. Repeat it under the same `request_id` with a new deadline,"
        " and the answer tells",
    ),
    (
        "RESOURCE_EXHAUSTED (OVERLOADED)",
        "Nothing was done. Repeat after the delay that `RetryInfo` names",
    ),
    ("ABORTED (ETAG_MISMATCH)", "Read again, decide anew, write under a new `request_id`"),
    ("UNAUTHENTICATED", "Get a new token and repeat once"),
    (
        "INTERNAL, UNKNOWN, DATA_LOSS",
        "Report it. A write may have happened; a repeat under the same `request_id` tells",
    ),
    ("any other", "Do not repeat: the same request gets the same refusal"),
)


def service_config_file() -> str:
    """Return docs/api/service_config.json."""
    return json.dumps(service_config(with_timeouts=True), indent=2) + "\n"


def metrics_page() -> str:
    """Return docs/metrics.md."""
    rows: list[tuple[str, ...]] = []
    registry = Metrics().registry
    for collector in registry._collector_to_names:
        for family in collector.collect():
            known = collector if hasattr(collector, "_labelnames") else family
            labels = [*getattr(known, "_labelnames", ())]
            labels = labels or sorted({key for one in family.samples for key in one.labels})
            suffix = "_total" if family.type == "counter" else ""
            rows.append(
                (
                    f"`{family.name}{suffix}`",
                    family.type,
                    ", ".join(f"`{label}`" for label in labels if label != "le"),
                    family.documentation.rstrip("."),
                )
            )
    parts = [
        "# Metrics",
        _RENEWED,
        "Every service tells these to Prometheus at `/metrics` of its `metrics_listen`. A"
        " histogram has the series `_bucket`, `_sum` and `_count`.",
        _table(("Name", "Type", "Labels", "Meaning"), sorted(rows)),
    ]
    return _page(parts)


_RENEWED = "Drawn from the code by `python scripts/reference.py`; change it there."


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _page(parts: Sequence[str]) -> str:
    return "\n\n".join(parts) + "\n"


def shipped_roles() -> dict[str, Role]:
    """Return the roles of the file that every service reads by default, as it orders them."""
    return strict_json.read_as(RolesFile, ROLES_FILE.read_bytes()).roles


def pages() -> dict[str, str]:
    """Return the pages by their paths under docs/."""
    files = contract()
    methods = methods_of(files)
    return {
        "errors.md": errors_page(reasons_of(files, methods)),
        "metrics.md": metrics_page(),
        "api/permissions.md": permissions_page(methods),
        "api/roles.md": roles_page(methods, shipped_roles()),
        "api/deadlines.md": deadlines_page(methods),
        "api/service_config.json": service_config_file(),
    }


def renew(docs: Path, *, only_check: bool) -> list[str]:
    """Write the pages that differ, unless it is only a check; return their paths."""
    stale: list[str] = []
    for name, text in pages().items():
        path = docs / name
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if not only_check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return stale


def main(arguments: Sequence[str]) -> int:
    """Renew the pages, or check them; return the exit code."""
    only_check = list(arguments) == ["--check"]
    if arguments and not only_check:
        print("usage: python scripts/reference.py [--check]", file=sys.stderr)
        return 2
    stale = renew(ROOT / "docs", only_check=only_check)
    for name in stale:
        print(
            f"docs/{name} {'differs: run python scripts/reference.py' if only_check else 'renewed'}"
        )
    return int(only_check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
