"""The pages that are drawn from the code say what the code does."""

import json
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from scripts import reference
from services.chassis import errors as chassis_errors
from services.chassis.errors import Refusal
from services.chassis.roles import Role
from services.contacts import errors as contacts_errors
from services.loyalty import errors as loyalty_errors

CONTRACT = reference.contract()
METHODS = reference.methods_of(CONTRACT)
REASONS = reference.reasons_of(CONTRACT, METHODS)
BY_NAME = {(reason.domain, reason.name): reason for reason in REASONS}


PUBLIC = {"ExchangeApiKey", "GetJsonWebKeySet"}
ALL_REFUSALS = [
    refusal
    for module in (chassis_errors, contacts_errors, loyalty_errors)
    for refusal in vars(module).values()
    if isinstance(refusal, type) and issubclass(refusal, Refusal) and "reason" in vars(refusal)
]


def test_the_pages_are_as_the_code_is() -> None:
    assert reference.renew(reference.ROOT / "docs", only_check=True) == []


def test_a_page_that_differs_is_named_and_renewed(tmp_path: Path) -> None:
    names = ["errors.md", "metrics.md", "api/permissions.md", "api/roles.md"]
    names += ["api/deadlines.md", "api/service_config.json"]
    assert reference.renew(tmp_path, only_check=True) == names
    assert list(tmp_path.iterdir()) == []
    assert reference.renew(tmp_path, only_check=False) == names
    assert reference.renew(tmp_path, only_check=True) == []
    (tmp_path / "metrics.md").write_text("old")
    assert reference.renew(tmp_path, only_check=True) == ["metrics.md"]


def test_a_wrong_argument_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main(["--chek"]) == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("refusal", ALL_REFUSALS, ids=lambda refusal: refusal.__name__)
def test_a_refusal_is_told_under_the_code_that_it_has(refusal: type[Refusal]) -> None:
    domain = refusal.reasons.DESCRIPTOR.file.package
    assert BY_NAME[domain, refusal.reason].code == refusal.code.name


def test_every_reason_has_a_meaning() -> None:
    assert [reason.name for reason in REASONS if len(reason.meaning) < 10] == []


def test_a_reason_is_given_by_the_methods_that_name_it() -> None:
    ambiguous = BY_NAME["vafa.contacts.v1", "LOOKUP_AMBIGUOUS"]
    assert ambiguous.given_by == ("ContactService.LookupContact",)
    assert ambiguous.metadata == "`key`, `count`"
    assert ambiguous.code == "FAILED_PRECONDITION"


def test_a_reason_of_one_service_is_not_that_of_another() -> None:
    given_by = BY_NAME["vafa.contacts.v1", "TIME_IN_FUTURE"].given_by
    assert "ContactService.CreateContact" in given_by
    assert "OrderService.RecordOrder" not in given_by
    assert "OrderService.RecordOrder" in BY_NAME["vafa.loyalty.v1", "TIME_IN_FUTURE"].given_by


def test_what_any_method_may_give_is_said_once() -> None:
    for name in ("INVALID_FIELD", "UNAUTHENTICATED", "METHOD_UNKNOWN"):
        assert BY_NAME["vafa.api.v1", name].given_by == (reference.EVERY_METHOD,)


def test_a_failure_that_no_enum_has_is_found_out() -> None:
    methods = [
        reference.Method("vafa.contacts.v1.S", "Do", "a.b", 1.0, "read", "", ("NO_SUCH_THING",))
    ]
    with pytest.raises(ValueError, match=r"vafa\.contacts\.v1\.S\.Do: no reason NO_SUCH_THING"):
        reference.reasons_of(CONTRACT, methods)


def test_a_reason_whose_comment_names_no_code_is_found_out() -> None:
    files = FileDescriptorSet()
    files.CopyFrom(CONTRACT)
    for file in files.file:
        for location in file.source_code_info.location:
            text = location.leading_comments
            location.leading_comments = text.replace("NOT_FOUND. No live", "No live")
    with pytest.raises(ValueError, match="CONTACT_NOT_FOUND: its comment names no code"):
        reference.reasons_of(files, METHODS)


def test_every_method_needs_a_permission_or_is_public_and_has_a_deadline() -> None:
    assert len(METHODS) == len({(method.service, method.name) for method in METHODS})
    for method in METHODS:
        assert bool(method.permission) is (method.name not in PUBLIC)
        assert method.deadline_seconds > 0
        assert method.effect in ("read", "write")


def test_the_row_of_a_method_is_whole() -> None:
    row = "| `CreateContact` | `contacts.write` | 5 s | write | `POST /v1/contacts` |\n"
    assert row in reference.permissions_page(METHODS)


def test_the_row_of_a_public_method_says_so() -> None:
    row = "| `GetJsonWebKeySet` | none, public | 3 s | read | `GET /.well-known/jwks.json` |\n"
    assert row in reference.permissions_page(METHODS)


def test_the_table_of_roles_says_who_may_call_what() -> None:
    roles = {
        "clerk": Role(description="A clerk.", permissions=["contacts.read"]),
        "admin": Role(description="All.", permissions=["*"]),
    }
    page = reference.roles_page(METHODS, roles)
    assert "| `clerk` | A clerk. | `contacts.read` |\n" in page
    assert "| Method | Permission | `clerk` | `admin` |\n" in page
    assert "| `GetContact` | `contacts.read` | yes | yes |\n" in page
    assert "| `CreateContact` | `contacts.write` | · | yes |\n" in page
    assert "| `GetJsonWebKeySet` | none, public | yes | yes |\n" in page


def test_the_table_of_deadlines_says_how_each_method_is_repeated() -> None:
    page = reference.deadlines_page(METHODS)
    codes = "UNAVAILABLE, CANCELLED"
    assert f"| `GetContact` | 5 s | at will | {codes} |\n" in page
    assert f"| `CreateContact` | 5 s | under the same `request_id` | {codes} |\n" in page
    assert f"| `StreamEvents` | 3600 s | go on from the last cursor | {codes} |\n" in page
    assert "| `CancelOperation` | 5 s | ask how it stands first | none |\n" in page


def test_the_service_config_gives_every_call_its_deadline_and_streams_none() -> None:
    config = json.loads(reference.service_config_file())
    timeouts = {
        (name["service"], name["method"]): one.get("timeout")
        for one in config["methodConfig"]
        for name in one["name"]
    }
    for method in METHODS:
        stated = f"{method.deadline_seconds:g}s" if method.name != "StreamEvents" else None
        assert timeouts[method.service, method.name] == stated, method.name


def test_the_metrics_of_calls_are_told_with_their_labels() -> None:
    page = reference.metrics_page()
    labels = "`grpc_type`, `grpc_service`, `grpc_method`, `grpc_code`"
    assert f"| `grpc_server_handled_total` | counter | {labels} | Calls ended |\n" in page
    assert "| `consumer_lag_events` | gauge | `source` |" in page
