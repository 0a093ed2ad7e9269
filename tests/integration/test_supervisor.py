"""The supervisor over real processes: what it starts, restarts, refuses and leaves behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.command import child
from services.command.data_directory import DataDirectoryInUse
from services.command.supervisor import (
    MAX_LINE_CHARACTERS,
    CannotListen,
    PortInUse,
    ProcessSpec,
    Supervisor,
)
from tests.harness.ports import free_port

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 20

# Listens on the port given; says its id, and farewell when told to end. "stubborn" is not told.
SERVER = """
import os, signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in sys.argv else lambda *_: sys.exit())
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("pid", os.getpid(), flush=True)
try:
    while True:
        listener.accept()[0].close()
finally:
    print("farewell")
"""

# A supervisor of its own process: the data directory, SERVER and the ports are its arguments.
SUITE = """
import asyncio, sys
from pathlib import Path
from services.command.supervisor import ProcessSpec, Supervisor

async def ready():
    return True

directory, server, *ports = sys.argv[1:]
specs = [
    ProcessSpec(port, (sys.executable, "-c", server, port), {}, (f"127.0.0.1:{port}",), ready)
    for port in ports
]
log = lambda name, line: print(name, line, flush=True)
supervisor = Supervisor(specs, data_directory=Path(directory), log=log, stop_grace_seconds=5)
sys.exit(asyncio.run(supervisor.run()))
"""


class Log:
    """The lines so far, as pairs of name and line."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str) -> None:
        self.lines.append((name, line))

    def of(self, name: str) -> list[str]:
        return [line for owner, line in self.lines if owner == name]

    def process_ids(self, name: str) -> list[int]:
        return [int(line.split()[1]) for line in self.of(name) if line.startswith("pid ")]


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def a_server(name: str, *arguments: str, port: int | None = None) -> ProcessSpec:
    number = free_port() if port is None else port

    async def ready() -> bool:
        return answers(number)

    command = (sys.executable, "-c", SERVER, str(number), *arguments)
    return ProcessSpec(name, command, {}, (f"127.0.0.1:{number}",), ready)


def a_process(name: str, code: str, environment: dict[str, str] | None = None) -> ProcessSpec:
    async def ready() -> bool:
        return True

    return ProcessSpec(name, (sys.executable, "-c", code), environment or {}, (), ready)


def run(supervisor: Supervisor, on_ready: Callable[[], Awaitable[None]] | None = None) -> int:
    return asyncio.run(asyncio.wait_for(supervisor.run(on_ready), TIMEOUT_SECONDS))


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.02)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.02)


def interrupt(number: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def exists(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def a_suite(directory: Path, *ports: int) -> Iterator[subprocess.Popen[str]]:
    """A supervisor in a process of its own, all of whose servers answer."""
    arguments = [sys.executable, "-c", SUITE, str(directory), SERVER, *map(str, ports)]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: all(map(answers, ports)))
            yield process
        finally:
            process.kill()


def test_on_ready_runs_when_all_answer_and_their_lines_reach_one_log(tmp_path: Path) -> None:
    log = Log()
    specs = [a_server("contacts"), a_server("loyalty")]
    ready_calls = []

    async def on_ready() -> None:
        ready_calls.append([await spec.ready() for spec in specs])
        interrupt()

    assert run(Supervisor(specs, data_directory=tmp_path, log=log), on_ready) == 0
    assert ready_calls == [[True, True]]
    for name in ("contacts", "loyalty"):
        assert log.of(name)[0].startswith("pid ")
        assert log.of(name)[-1] == "farewell"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_every_process_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    ports = [free_port(), free_port()]
    with a_suite(tmp_path, *ports) as suite:
        suite.send_signal(number)
        output, _ = suite.communicate(timeout=TIMEOUT_SECONDS)
    assert suite.returncode == 0
    assert output.count("farewell") == 2
    started = [int(line.split()[2]) for line in output.splitlines() if " pid " in line]
    assert len(started) == 2
    assert not any(map(exists, started))


def test_a_crashed_process_is_started_again(tmp_path: Path) -> None:
    log = Log()
    spec = a_server("loyalty")

    async def crash_it() -> None:
        await until(lambda: log.process_ids("loyalty"))
        os.kill(log.process_ids("loyalty")[0], signal.SIGKILL)
        await until(lambda: len(log.process_ids("loyalty")) == 2)
        assert await spec.ready()
        interrupt()

    supervisor = Supervisor([spec], data_directory=tmp_path, log=log, restart_delay_seconds=0.05)
    assert run(supervisor, crash_it) == 0
    assert "was ended by SIGKILL; starting it again in 0.05 s" in log.of("loyalty")


def test_the_delay_before_a_restart_doubles(tmp_path: Path) -> None:
    log = Log()

    async def see_three_restarts() -> None:
        await until(lambda: len(log.of("broken")) >= 3)
        interrupt()

    supervisor = Supervisor(
        [a_process("broken", "raise SystemExit(3)")],
        data_directory=tmp_path,
        log=log,
        restart_delay_seconds=0.01,
    )
    assert run(supervisor, see_three_restarts) == 0
    assert log.of("broken")[:3] == [
        f"exited with status 3; starting it again in {delay} s" for delay in (0.01, 0.02, 0.04)
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the launcher sees to it")
def test_a_killed_supervisor_takes_its_processes_along_and_frees_the_directory(
    tmp_path: Path,
) -> None:
    ports = [free_port(), free_port()]
    with a_suite(tmp_path, *ports) as suite:
        suite.kill()
        suite.wait(TIMEOUT_SECONDS)
        wait_until(lambda: not any(map(answers, ports)))

    async def stop() -> None:
        interrupt()

    specs = [a_server("contacts", port=ports[0])]
    assert run(Supervisor(specs, data_directory=tmp_path, log=Log()), stop) == 0


def test_a_second_supervisor_of_one_directory_is_refused(tmp_path: Path) -> None:
    log = Log()
    with a_suite(tmp_path, free_port()) as suite:
        with pytest.raises(DataDirectoryInUse, match=f"process {suite.pid}") as refusal:
            run(Supervisor([a_server("contacts")], data_directory=tmp_path, log=log))
        suite.send_signal(signal.SIGINT)
        assert suite.wait(TIMEOUT_SECONDS) == 0
    assert refusal.value.pid == suite.pid
    assert str(tmp_path) in str(refusal.value)
    assert log.lines == []


def test_a_port_in_use_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    log, refreshed = Log(), []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        specs = [a_server("contacts"), a_server("loyalty", port=port)]
        supervisor = Supervisor(
            specs, data_directory=tmp_path, log=log, refresh=lambda: refreshed.append(1)
        )
        with pytest.raises(PortInUse, match=f"loyalty cannot listen on 127.0.0.1:{port}") as error:
            run(supervisor)
    assert (error.value.name, error.value.address) == ("loyalty", f"127.0.0.1:{port}")
    assert (log.lines, refreshed) == ([], [])


def test_a_port_shared_by_reuse_port_counts_as_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        spec = a_server("loyalty", port=taken.getsockname()[1])
        with pytest.raises(PortInUse):
            run(Supervisor([spec], data_directory=tmp_path, log=Log()))


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    async def ready() -> bool:
        return True

    # 192.0.2.0/24 is for documentation: no machine has it.
    spec = ProcessSpec("gateway", (sys.executable, "-V"), {}, ("192.0.2.1:50051",), ready)
    with pytest.raises(CannotListen, match=r"gateway cannot listen on 192\.0\.2\.1:50051"):
        run(Supervisor([spec], data_directory=tmp_path, log=Log()))


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    log = Log()

    async def stop() -> None:
        interrupt()

    supervisor = Supervisor(
        [a_server("stubborn", "stubborn"), a_server("polite")],
        data_directory=tmp_path,
        log=log,
        stop_grace_seconds=0.5,
    )
    assert run(supervisor, stop) == 0
    assert log.of("polite")[-1] == "farewell"
    assert "farewell" not in log.of("stubborn")
    assert log.of("vafa")[-1] == "killed after 0.5 s: stubborn"
    assert not exists(log.process_ids("stubborn")[0])


def test_a_second_signal_kills_at_once(tmp_path: Path) -> None:
    log = Log()

    async def stop_twice() -> None:
        interrupt()
        try:
            await asyncio.sleep(TIMEOUT_SECONDS)
        finally:
            interrupt()

    supervisor = Supervisor(
        [a_server("stubborn", "stubborn")],
        data_directory=tmp_path,
        log=log,
        stop_grace_seconds=2 * TIMEOUT_SECONDS,
    )
    assert run(supervisor, stop_twice) == 0
    assert not exists(log.process_ids("stubborn")[0])


def test_tokens_are_renewed_before_the_start_and_then_regularly(tmp_path: Path) -> None:
    log = Log()
    lines_at_refresh: list[int] = []

    async def see_three() -> None:
        await until(lambda: len(lines_at_refresh) >= 3)
        interrupt()

    supervisor = Supervisor(
        [a_server("contacts")],
        data_directory=tmp_path,
        log=log,
        refresh=lambda: lines_at_refresh.append(len(log.lines)),
        refresh_every_seconds=0.05,
    )
    assert run(supervisor, see_three) == 0
    assert lines_at_refresh[0] == 0


def test_a_renewal_that_fails_once_is_logged_and_tried_again(tmp_path: Path) -> None:
    log, calls = Log(), []

    def refresh() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError("no space left")

    async def see_three() -> None:
        await until(lambda: len(calls) >= 3)
        interrupt()

    supervisor = Supervisor(
        [a_server("contacts")],
        data_directory=tmp_path,
        log=log,
        refresh=refresh,
        refresh_every_seconds=0.02,
    )
    assert run(supervisor, see_three) == 0
    assert log.of("vafa")[0] == "tokens were not renewed: no space left"


def test_a_failing_on_ready_ends_the_run_with_1(tmp_path: Path) -> None:
    log = Log()

    async def fail() -> None:
        raise ValueError("the sample is damaged")

    spec = a_server("contacts")
    assert run(Supervisor([spec], data_directory=tmp_path, log=log), fail) == 1
    assert log.of("vafa")[-1] == "ValueError: the sample is damaged"
    assert log.of("contacts")[-1] == "farewell"


def test_processes_that_do_not_become_ready_are_named(tmp_path: Path) -> None:
    log = Log()

    async def never() -> bool:
        return False

    async def hanging() -> bool:
        await asyncio.sleep(TIMEOUT_SECONDS)
        return True

    specs = [
        a_process("contacts", "input()"),
        ProcessSpec("loyalty", ("no-such-command",), {}, (), never),
        ProcessSpec("gateway", (sys.executable, "-c", "input()"), {}, (), hanging),
    ]
    supervisor = Supervisor(specs, data_directory=tmp_path, log=log, ready_timeout_seconds=2)
    assert run(supervisor) == 1
    assert log.of("vafa")[-1] == "not ready after 2 s: loyalty, gateway"
    assert any("no-such-command: [Errno 2] No such file" in line for line in log.of("loyalty"))


def test_a_log_that_fails_ends_the_run_with_1(tmp_path: Path) -> None:
    lines = []

    def log(name: str, line: str) -> None:
        if line == "hello":
            raise BrokenPipeError("the terminal has gone")
        lines.append(line)

    spec = a_process("contacts", "print('hello', flush=True); import time; time.sleep(60)")
    assert run(Supervisor([spec], data_directory=tmp_path, log=log)) == 1
    assert lines[-1] == "BrokenPipeError: the terminal has gone"


def test_lines_are_bounded_decoded_and_none_is_lost(tmp_path: Path) -> None:
    log = Log()
    code = """
import os, time
os.write(2, os.environ["GREETING"].encode() + b"\\n")
os.write(1, b"x" * 20_000 + b"\\n\\ncaf\\xc3\\xa9 \\xff\\nno newline")
time.sleep(60)
"""
    last_whole_line = "café \N{REPLACEMENT CHARACTER}"

    async def see_all() -> None:
        await until(lambda: last_whole_line in log.of("noisy"))
        interrupt()

    spec = a_process("noisy", code, {"GREETING": "hello"})
    assert run(Supervisor([spec], data_directory=tmp_path, log=log), see_all) == 0
    greeting, *long, blank, decoded, unfinished = log.of("noisy")
    assert "".join(long) == "x" * 20_000
    assert max(map(len, long)) == MAX_LINE_CHARACTERS
    assert [greeting, blank, decoded, unfinished] == ["hello", "", last_whole_line, "no newline"]


def a_guarded(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    launcher = [sys.executable, "-IS", child.__file__, "--watch-stdin", "--"]
    return subprocess.Popen(
        [*launcher, sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def test_a_guarded_command_is_killed_when_the_input_of_its_launcher_ends() -> None:
    port = free_port()
    with a_guarded(SERVER, str(port), "stubborn") as launcher:
        wait_until(lambda: answers(port))
        launcher.communicate(timeout=TIMEOUT_SECONDS)
    assert launcher.returncode == 128 + signal.SIGKILL
    assert not answers(port)


def test_a_guarded_command_may_answer_sigterm_before_its_launcher_ends() -> None:
    port = free_port()
    with a_guarded(SERVER, str(port)) as launcher:
        wait_until(lambda: answers(port))
        os.killpg(launcher.pid, signal.SIGTERM)
        assert launcher.wait(TIMEOUT_SECONDS) == 0
        assert launcher.stdout is not None
        assert launcher.stdout.read().endswith(b"farewell\n")


@pytest.mark.skipif(sys.platform != "linux", reason="uses prctl")
def test_a_command_whose_supervisor_has_already_ended_is_not_started() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    launcher = subprocess.run(
        [
            sys.executable,
            "-IS",
            child.__file__,
            "--parent",
            ended.stdout.decode().strip(),
            "--",
            "echo",
            "started",
        ],
        capture_output=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert launcher.returncode == 1
    assert launcher.stdout == b""
    assert b"ended before echo could start" in launcher.stderr
