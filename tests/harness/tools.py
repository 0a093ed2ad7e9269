"""Tools from outside of Python that some tests need: without one they are skipped, unless
VAFA_REQUIRE_TOOLS is 1, as in CI, and then they fail.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

INSTALL_SECONDS = 300


def tool(*names: str) -> str:
    """Return the path of a program, which may have several names."""
    for name in names:
        if found := shutil.which(name):
            return found
    return _missing(f"{names[0]} is not installed")


def node_packages(project: Path) -> None:
    """Install the packages of a project as its lock file names them, unless they are there."""
    installed, locked = (
        project / "node_modules" / ".package-lock.json",
        project / "package-lock.json",
    )
    if installed.exists() and installed.stat().st_mtime >= locked.stat().st_mtime:
        return
    command = [tool("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(
        command, cwd=project, check=False, capture_output=True, text=True, timeout=INSTALL_SECONDS
    )
    if done.returncode:
        _missing(f"npm ci failed in {project.name}: {done.stderr[-500:]}")


def _missing(what: str) -> str:
    if os.environ.get("VAFA_REQUIRE_TOOLS") == "1":
        pytest.fail(what)
    pytest.skip(what)
