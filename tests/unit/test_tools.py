"""A tool that is missing is told, and where tools are required it is not passed over."""

from pathlib import Path

import pytest

from tests.harness.tools import node_packages, tool


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No program is found."""
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_tool_is_found_by_the_first_of_its_names_that_is_there() -> None:
    assert tool("no-such-program", "sh").endswith("/sh")


@pytest.mark.usefixtures("nothing_installed")
def test_without_a_tool_the_test_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAFA_REQUIRE_TOOLS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="chromium is not installed"):
        tool("chromium", "google-chrome")


@pytest.mark.usefixtures("nothing_installed")
def test_where_tools_are_required_the_test_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAFA_REQUIRE_TOOLS", "1")
    with pytest.raises(pytest.fail.Exception, match="chromium is not installed"):
        tool("chromium")
    (tmp_path / "package-lock.json").touch()
    with pytest.raises(pytest.fail.Exception, match="npm is not installed"):
        node_packages(tmp_path)
