"""Settings from the environment and from the files that it names."""

from pathlib import Path

import pytest

from services.chassis.contract import SERVICES
from services.chassis.settings import EXIT_CONFIGURATION
from services.command import keys
from services.command.data_directory import CannotStart
from services.command.migrations import databases_of, migrate_all
from services.contacts.settings import Settings
from services.gateway.edge.settings import EdgeSettings

URL = "postgresql+psycopg://contacts:secret@db/contacts"


@pytest.fixture
def url_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file for the database URL of contacts, which the environment names."""
    path = tmp_path / "url"
    monkeypatch.setenv("VAFA_CONTACTS_DATABASE_URL_FILE", str(path))
    return path


def test_a_file_with_the_database_url_goes_before_the_variable(
    url_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAFA_CONTACTS_DATABASE_URL", "sqlite:///elsewhere.db")
    url_file.write_text(f"{URL}\n")
    assert Settings.from_environment().database_url == URL


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_a_file_without_a_database_url_is_refused_without_its_content(
    url_file: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        url_file.write_bytes(content)
    with pytest.raises(SystemExit) as refused:
        Settings.from_environment()
    assert refused.value.code == EXIT_CONFIGURATION
    assert f"settings VAFA_CONTACTS_* cannot work: Value error, {url_file}" in (
        capsys.readouterr().err
    )


def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VAFA_CONTACTS_WAITING_CALLS", "many")
    with pytest.raises(SystemExit):
        Settings.from_environment()
    assert "cannot work: waiting_calls: Input should be a valid integer" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    ["elsewhere", "mysql://ada:secret@db/contacts", "postgresql+psycopg://db:secret/contacts"],
)
def test_a_database_url_that_cannot_be_used_is_refused_without_its_content(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VAFA_CONTACTS_DATABASE_URL", url)
    with pytest.raises(SystemExit) as refused:
        Settings.from_environment()
    assert refused.value.code == EXIT_CONFIGURATION
    said = capsys.readouterr().err
    assert "cannot work: database_url: Value error, a database URL" in said
    assert "secret" not in said


def test_a_log_level_is_known_by_its_name_in_either_case(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VAFA_CONTACTS_LOG_LEVEL", "warning")
    assert Settings.from_environment().log_level == "WARNING"
    monkeypatch.setenv("VAFA_CONTACTS_LOG_LEVEL", "loud")
    with pytest.raises(SystemExit) as refused:
        Settings.from_environment()
    assert refused.value.code == EXIT_CONFIGURATION
    assert "cannot work: log_level: Input should be 'DEBUG', 'INFO'" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["inf", "nan", "0"])
def test_a_bound_that_is_none_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VAFA_CONTACTS_LOCK_TIMEOUT_SECONDS", value)
    with pytest.raises(SystemExit):
        Settings.from_environment()
    assert "cannot work: lock_timeout_seconds: Input should be" in capsys.readouterr().err


def test_an_empty_variable_of_a_path_stands_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.ensure_signing_key(tmp_path)
    monkeypatch.setenv("VAFA_GATEWAY_SIGNING_KEY_FILE", "")
    assert keys.mint_operator_token(tmp_path, subject="ada", roles=[])
    for name in ("ISSUERS_FILE", "TLS_CERTIFICATE_FILE", "TLS_KEY_FILE"):
        monkeypatch.setenv(f"VAFA_EDGE_{name}", "")
    edge = EdgeSettings.from_environment()
    assert (edge.issuers_file, edge.tls_certificate_file, edge.tls_key_file) == (None, None, None)


def test_settings_that_do_not_go_together_are_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VAFA_EDGE_TLS_KEY_FILE", "key.pem")
    with pytest.raises(SystemExit) as refused:
        EdgeSettings.from_environment()
    assert refused.value.code == EXIT_CONFIGURATION
    assert capsys.readouterr().err == (
        "settings VAFA_EDGE_* cannot work:"
        " Value error, tls_certificate_file and tls_key_file go together\n"
    )


def test_the_command_reads_the_same_file(url_file: Path, tmp_path: Path) -> None:
    url_file.write_text(f"{URL}\n")
    databases = databases_of(tmp_path, None)
    assert databases.urls["contacts"] == URL
    assert databases.given == {"contacts"}


def test_the_command_says_which_file_holds_no_url(url_file: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=f"{url_file} cannot be read: FileNotFoundError"):
        databases_of(tmp_path, None)


def test_one_service_is_migrated_without_the_others(tmp_path: Path) -> None:
    revisions = migrate_all(databases_of(tmp_path, None).of(["feedback"]))
    assert revisions.keys() == {"feedback"}
    assert [path.name for path in tmp_path.glob("*.db")] == ["feedback.db"]


def test_all_services_are_migrated_unless_some_are_named(tmp_path: Path) -> None:
    assert databases_of(tmp_path, None).of(SERVICES).urls.keys() == set(SERVICES)


def test_a_service_that_is_not_there_cannot_be_migrated(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="orders is no service: there are contacts,"):
        databases_of(tmp_path, None).of(["contacts", "orders"])
