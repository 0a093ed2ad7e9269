"""The peers as processes: each over databases that were filled as ours, with 1 process or 2."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from bench import http1
from bench.load import PATIENCE_SECONDS
from tests.harness.ports import free_port
from tests.harness.waiting import until

HERE = Path(__file__).parent
DJANGO, FASTAPI = "Django REST", "FastAPI"
# How each is run in production: gunicorn with threads, since its plain worker keeps no
# connection; uvicorn with its fast parser and loop. Neither logs its calls.
COMMANDS = {
    DJANGO: (
        *("-m", "gunicorn", "django_service:application", "--bind", "{address}"),
        *("--worker-class", "gthread", "--threads", "8", "--workers", "{processes}"),
        *("--keep-alive", "60", "--log-level", "warning"),
    ),
    FASTAPI: (
        *("-m", "uvicorn", "fastapi_service:app", "--host", "127.0.0.1", "--port", "{port}"),
        *("--workers", "{processes}", "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "60"),
    ),
}
DRIVERS = {DJANGO: "postgresql", FASTAPI: "postgresql+asyncpg"}


@dataclass(frozen=True)
class Peer:
    """A peer that serves."""

    name: str
    processes: int
    address: str
    pid: int


@contextmanager
def serving(
    python: Path, name: str, processes: int, urls: Mapping[str, str], log: Path
) -> Iterator[Peer]:
    """Give a peer that serves over the databases of contacts and loyalty."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = [
        part.format(address=address, port=port, processes=processes) for part in COMMANDS[name]
    ]
    databases = {
        f"{service.upper()}_URL": make_url(urls[service])
        .set(drivername=DRIVERS[name])
        .render_as_string(hide_password=False)
        for service in ("contacts", "loyalty")
    }
    with log.open("ab") as out:
        process = subprocess.Popen(  # noqa: S603
            [python, *command], cwd=HERE, env={**os.environ, **databases}, stdout=out, stderr=out
        )
    try:
        peer = Peer(name, processes, address, process.pid)
        until(lambda: _answers(process, peer, log), name, within_seconds=PATIENCE_SECONDS)
        yield peer
    finally:
        process.terminate()
        process.wait()


def _answers(process: subprocess.Popen[bytes], peer: Peer, log: Path) -> bool:
    assert process.poll() is None, f"{peer.name} ended:\n{log.read_text()[-3000:]}"
    try:
        connection = http1.Connection(peer.address)
    except OSError:
        return False
    connection.socket.close()
    return True
