"""The virtual environment of the peers: made once, outside the tree, from pinned packages."""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = Path(__file__).parent / "packages.txt"


class PeersMissing(Exception):
    """The packages of the peers cannot be had; the text is one line that tells why."""


def python() -> Path:
    """Return the interpreter that has the packages, installed from PyPI if it is the first time.

    Raises PeersMissing.
    """
    wanted = hashlib.sha256(PACKAGES.read_bytes() + sys.version.encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "vafa-bench" / f"peers-{wanted}"
    interpreter, complete = folder / "bin" / "python", folder / "complete"
    if complete.exists():
        return interpreter
    venv.create(folder, clear=True, with_pip=True)
    command = [str(interpreter), "-m", "pip", "install", "--quiet", "-r", str(PACKAGES)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise PeersMissing(" ".join((errors or ["pip failed"])[-1].split()))
    complete.touch()
    return interpreter
