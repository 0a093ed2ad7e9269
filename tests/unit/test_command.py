"""The `vafa` command without a suite: its log, its databases, and what it says when it cannot."""

import io
import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console

from services.__main__ import main
from services.chassis.contract import SERVICES
from services.command import keys, sample
from services.command.data_directory import CannotStart
from services.command.databases import DatabaseUnusable, database_urls
from services.command.log_views import JsonLog, ReadableLog
from services.command.migrations import databases_of, migrate_all
from tests.harness.ports import free_port

RPC = {
    "service": "vafa.loyalty.v1.LedgerService",
    "method": "SpendPoints",
    "code": "OK",
    "reason": "",
    "duration_ms": 1.5,
    "event": "rpc",
    "process": "loyalty",
    "level": "info",
    "ts": "2026-11-22T10:20:30.123456Z",
}


def shown(*lines: str, verbose: bool = False) -> list[str]:
    """Return what a person sees of these lines of loyalty."""
    output = io.StringIO()
    log = ReadableLog(verbose=verbose, console=Console(file=output, width=40, highlight=False))
    for line in lines:
        log("loyalty", line)
    return output.getvalue().splitlines()


def refusal(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the command, and return what it ends with on standard error."""
    monkeypatch.setattr(sys, "argv", ["vafa", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, str), "a text makes exit code 1"
    assert "\n" not in ended.value.code
    return ended.value.code


def test_an_event_is_one_line_with_its_fields() -> None:
    refused = {**RPC, "code": "FAILED_PRECONDITION", "reason": "INSUFFICIENT_POINTS"}
    (line,) = shown(json.dumps(refused))
    time, _, rest = line.partition(" ")
    # The hour is that of the reader's own time zone.
    assert time.endswith(":30.123")
    assert rest == (
        "loyalty  rpc service=vafa.loyalty.v1.LedgerService method=SpendPoints"
        " code=FAILED_PRECONDITION reason=INSUFFICIENT_POINTS duration_ms=1.5"
    )


def test_a_call_that_succeeds_is_shown_only_when_asked_for() -> None:
    assert shown(json.dumps(RPC)) == []
    (line,) = shown(json.dumps(RPC), verbose=True)
    assert "code=OK" in line


def test_a_warning_says_that_it_is_one() -> None:
    (line,) = shown(json.dumps({"event": "database_unreachable", "level": "warning"}))
    assert line.endswith("loyalty  warning database_unreachable")


def test_an_exception_comes_line_by_line_after_its_event() -> None:
    fields = {"event": "defect", "level": "error", "exception": "Traceback:\n  here\nValueError"}
    lines = shown(json.dumps(fields))
    assert [line.partition("loyalty  ")[2] for line in lines] == [
        "error defect",
        "Traceback:",
        "  here",
        "ValueError",
    ]


def test_words_that_are_not_json_are_shown_as_they_are() -> None:
    words = ["was ended by SIGKILL", "[1, 2]", "[bold]not markup[/bold]", ""]
    assert [line.partition("loyalty")[2].strip() for line in shown(*words)] == words


@pytest.mark.parametrize("line", ["\x1b[2J", json.dumps({"event": "\x1b[2J", "key": "\x1b[2J"})])
def test_what_a_process_writes_cannot_steer_the_terminal(line: str) -> None:
    assert "\x1b" not in "".join(shown(line))


def test_a_value_with_spaces_shows_where_it_ends_and_persian_stays_readable() -> None:
    (line,) = shown(json.dumps({"event": "named", "name": "آدا لاولیس", "plain": "آدا"}))
    assert line.endswith('named name="آدا لاولیس" plain=آدا')


def test_the_json_log_keeps_lines_and_makes_events_of_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = JsonLog()
    line = json.dumps(RPC)
    log("loyalty", line)
    log("vafa", "SIGINT: stopping")
    kept, made = capsys.readouterr().out.splitlines()
    assert kept == line
    event = json.loads(made)
    assert event.keys() == {"process", "event", "level", "ts"}
    assert (event["process"], event["event"]) == ("vafa", "SIGINT: stopping")


def test_without_a_url_each_service_has_a_file_in_the_data_directory(tmp_path: Path) -> None:
    urls = databases_of(tmp_path, None).urls
    assert urls["contacts"] == f"sqlite:///{tmp_path}/contacts.db"
    assert len(set(urls.values())) == 4


def test_one_url_names_a_database_for_each_service_on_that_server() -> None:
    assert database_urls("postgresql+psycopg://ada:p%40ss@db:5433/vafa?sslmode=require") == {
        service: f"postgresql+psycopg://ada:p%40ss@db:5433/vafa_{service}?sslmode=require"
        for service in ("contacts", "loyalty", "feedback", "gateway")
    }


def test_the_environment_of_a_service_goes_before_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = f"sqlite:///{tmp_path}/own.db"
    monkeypatch.setenv("VAFA_LOYALTY_DATABASE_URL", own)
    urls = databases_of(tmp_path, "postgresql+psycopg://db/vafa").urls
    assert urls["loyalty"] == own
    assert urls["contacts"] == "postgresql+psycopg://db/vafa_contacts"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql://ada:secret@db/vafa", "not with postgresql://"),
        ("mysql://ada:secret@db/vafa", "not with mysql://"),
        ("postgresql+psycopg://ada:secret@db", "must look like"),
        ("sqlite:///secret.db", "must look like"),
        ("secret", "cannot be read"),
    ],
)
def test_a_url_that_cannot_serve_is_refused_without_its_password(url: str, problem: str) -> None:
    with pytest.raises(CannotStart, match=problem) as refused:
        database_urls(url)
    assert "secret" not in str(refused.value)


def test_migration_makes_the_databases_and_is_repeatable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "data"
    monkeypatch.setattr(sys, "argv", ["vafa", "migrate", "--data-directory", str(directory)])
    printed = []
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    rows = [line.split() for line in printed[0].splitlines()]
    for service, (name, revision, url) in zip(SERVICES, rows, strict=True):
        assert name == service
        assert revision != "None"
        assert url == f"sqlite:///{directory}/{service}.db"
        assert (directory / f"{service}.db").exists()


def test_names_that_postgresql_would_cut_to_one_are_refused() -> None:
    longest = "گ" * 27
    urls = database_urls(f"postgresql+psycopg://ada@127.0.0.1/{longest}")
    assert len(set(urls.values())) == len(SERVICES)
    with pytest.raises(CannotStart, match="at most 63 bytes"):
        database_urls(f"postgresql+psycopg://ada@127.0.0.1/{longest}a")


def test_two_services_in_one_database_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in ("CONTACTS", "LOYALTY"):
        monkeypatch.setenv(f"VAFA_{service}_DATABASE_URL", f"sqlite:///{tmp_path}/one.db")
    line = refusal(["migrate", "--data-directory", str(tmp_path)], monkeypatch)
    assert line == "vafa: two services cannot share a database: each must have its own URL"
    assert not (tmp_path / "one.db").exists()


def test_a_database_of_a_later_program_is_refused(tmp_path: Path) -> None:
    databases = databases_of(tmp_path, None)
    migrate_all(databases)
    with closing(sqlite3.connect(tmp_path / "loyalty.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'm9999'")
    with pytest.raises(DatabaseUnusable, match=r"loyalty\.db cannot be used: .*m9999"):
        migrate_all(databases)


def test_a_database_that_cannot_be_reached_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql+psycopg://ada:secret@127.0.0.1:{free_port()}/vafa"
    arguments = ["up", "--data-directory", str(tmp_path), "--database-url", url]
    line = refusal(arguments, monkeypatch)
    assert line.startswith("vafa: the database postgresql+psycopg://ada:***@127.0.0.1:")
    assert "refused" in line
    assert "secret" not in line
    assert not (tmp_path / "endpoints.json").exists()


def test_a_token_without_a_key_says_what_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = refusal(["token", "--data-directory", str(tmp_path)], monkeypatch)
    missing = tmp_path / "keys" / "signing.pem"
    assert line == f"vafa: there is no signing key at {missing}; `vafa up` makes one"


def test_verification_without_a_suite_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = refusal(["verify", "--data-directory", str(tmp_path)], monkeypatch)
    assert line == f"vafa: no suite runs in {tmp_path}; start one with `vafa up`"


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b'{"loyalty": "127.', b"[]"])
def test_a_damaged_list_of_addresses_is_named(
    damage: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "endpoints.json").write_bytes(damage)
    line = refusal(["verify", "--data-directory", str(tmp_path)], monkeypatch)
    assert line.startswith(f"vafa: {tmp_path}/endpoints.json is not ")


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"one\nanother"])
def test_a_damaged_token_is_named(
    damage: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "endpoints.json").write_text('{"loyalty": "127.0.0.1:1"}')
    token_file = tmp_path / "tokens" / "admin.jwt"
    token_file.parent.mkdir()
    token_file.write_bytes(damage)
    given = ["--address", "127.0.0.1:1", "--token-file", str(token_file)]
    for arguments in (["--data-directory", str(tmp_path)], given):
        line = refusal(["verify", *arguments], monkeypatch)
        assert line.startswith(f"vafa: the token file {token_file} ")


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_damaged_signing_key_is_named(
    damage: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.ensure_signing_key(tmp_path)
    (tmp_path / "keys" / "signing.pem").write_bytes(damage)
    for command in ("token", "up"):
        line = refusal([command, "--data-directory", str(tmp_path)], monkeypatch)
        assert line.startswith(f"vafa: {tmp_path}/keys/signing.pem is not a private key")


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"[]", b"{}", b'{"keys": [1]}'])
def test_a_damaged_set_of_public_keys_is_named(
    damage: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.ensure_signing_key(tmp_path)
    (tmp_path / "keys" / "jwks.json").write_bytes(damage)
    line = refusal(["up", "--data-directory", str(tmp_path)], monkeypatch)
    assert line.startswith(f"vafa: {tmp_path}/keys/jwks.json is not a set of keys: ")


def test_a_rate_that_no_programme_can_have_is_refused_before_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = ["--points", str(2**64)]
    monkeypatch.setattr(sys, "argv", ["vafa", "load", str(tmp_path / "orders.csv"), *points])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "--points" in capsys.readouterr().err


def test_a_missing_sample_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "SAMPLE", tmp_path / "cdnow_sample.csv")
    directory = tmp_path / "data"
    line = refusal(["up", "--sample", "--data-directory", str(directory)], monkeypatch)
    assert "cdnow_sample.csv is not there" in line
    assert not directory.exists()


def test_help_names_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["vafa", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    listed = capsys.readouterr().out.partition("Commands:")[2].split()
    assert {"up", "load", "customer", "verify", "token", "migrate", "copy", "keys"} <= set(listed)
