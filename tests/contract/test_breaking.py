"""A change that breaks the callers of the contract is found, and no other."""

import shutil
from pathlib import Path

import pytest

from scripts.contract import ROOT, breaks

CONTACTS = Path("vafa/contacts/v1/contacts.proto")
OWNER = "  string owner = 20 [(buf.validate.field).string.max_len = 200];\n"


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A copy of the contract, to be changed."""
    return Path(shutil.copytree(ROOT / "proto", tmp_path / "proto"))


def replace(protos: Path, old: str, new: str) -> None:
    """Change a text that stands once in the contract of the contacts."""
    path = protos / CONTACTS
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_an_unchanged_contract_breaks_nobody(changed: Path) -> None:
    assert breaks(ROOT / "proto", changed) == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (OWNER, ""),
        (OWNER, OWNER.replace("owner", "keeper")),
        (OWNER, OWNER.replace("= 20 ", "= 99 ")),
        (OWNER, OWNER.replace("string owner", "bytes owner").replace(".string", ".bytes")),
        ("    LIFECYCLE_STAGE_FORMER = 4;\n", ""),
    ],
    ids=["removed", "renamed", "renumbered", "of another type", "value removed"],
)
def test_a_change_that_breaks_callers_is_found(
    changed: Path, capfd: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    replace(changed, old, new)
    assert breaks(ROOT / "proto", changed) != 0
    assert str(CONTACTS) in capfd.readouterr().out


def test_a_field_that_is_added_breaks_nobody(changed: Path) -> None:
    added = "  // Added.\n  string added = 99 [(buf.validate.field).string.max_len = 200];\n"
    replace(changed, OWNER, OWNER + added)
    assert breaks(ROOT / "proto", changed) == 0
    # The other way round it is a field that is removed.
    assert breaks(changed, ROOT / "proto") != 0
