"""Run the processes of the suite on one machine: start, watch, restart, merge logs, stop."""

import asyncio
import codecs
import errno
import os
import signal
import socket
import sys
import traceback
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from services.command import child
from services.command.data_directory import CannotStart, supervised

OWN_NAME = "vafa"
MAX_LINE_CHARACTERS = 8192
MAX_RESTART_DELAY_SECONDS = 5.0
SETTLED_AFTER_SECONDS = 30.0
PROBE_EVERY_SECONDS = 0.1
PROBE_TIMEOUT_SECONDS = 2.0
# Once a process has ended, its pipe ends too, unless a process that it left behind keeps it open.
DRAIN_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True)
class ProcessSpec:
    """One process to keep running.

    `environment` is added to the supervisor's own. `listen` are the host:port addresses that
    the process will bind; they must be free before the start. `ready` tells whether it serves;
    it is asked again until it says so, and an answer that takes over 2 s counts as no.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    listen: tuple[str, ...]
    ready: Callable[[], Awaitable[bool]]


class CannotListen(CannotStart):
    """The process `name` could not bind `address` here."""

    def __init__(self, name: str, address: str, reason: str) -> None:
        super().__init__(f"{name} cannot listen on {address}: {reason}")
        self.name = name
        self.address = address


class PortInUse(CannotListen):
    """The `address` that the process `name` wants is taken."""

    def __init__(self, name: str, address: str) -> None:
        super().__init__(name, address, "the port is in use")


class NotReady(CannotStart):
    """The processes `names` did not become ready in time."""

    def __init__(self, names: Sequence[str], timeout_seconds: float) -> None:
        super().__init__(f"not ready after {timeout_seconds:g} s: {', '.join(names)}")
        self.names = tuple(names)


class Supervisor:
    """Keeps the processes of specs running until it is told to stop; each object runs once.

    `log` takes every line of every process with the process's name, and the supervisor's own
    words about it. `refresh` renews the token files: it is called before the start and then
    every refresh_every_seconds. A process that ends is started again after
    restart_delay_seconds, doubled each time up to 5 s, until one start has lasted 30 s.
    On Linux no process outlives the supervisor, even if it is killed with SIGKILL.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        data_directory: Path,
        log: Callable[[str, str], None],
        refresh: Callable[[], None] | None = None,
        refresh_every_seconds: float = 60,
        restart_delay_seconds: float = 0.2,
        ready_timeout_seconds: float = 60,
        stop_grace_seconds: float = 10,
    ) -> None:
        if not specs or len({spec.name for spec in specs}) != len(specs):
            raise ValueError("a suite is one or more processes, each with a name of its own")
        self._specs = tuple(specs)
        self._data_directory = data_directory
        self._log = log
        self._refresh = refresh
        self._refresh_every_seconds = refresh_every_seconds
        self._restart_delay_seconds = restart_delay_seconds
        self._ready_timeout_seconds = ready_timeout_seconds
        self._stop_grace_seconds = stop_grace_seconds
        self._stopping = asyncio.Event()
        self._last_signal: signal.Signals | None = None
        self._failure: BaseException | None = None
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def run(self, on_ready: Callable[[], Awaitable[None]] | None = None) -> int:
        """Run until SIGINT or SIGTERM and return 0, or 1 if a failure ended the run.

        on_ready is awaited once, as soon as every process is ready. A failure is a process that
        is not ready in time, or an exception of on_ready, `ready`, `refresh` or `log`; it is
        logged. Either way every process has ended when this returns: SIGTERM first, SIGKILL
        after the grace, or at once on a second signal.

        Raises CannotStart before it starts anything: DataDirectoryInUse if another supervisor
        runs there, PortInUse or CannotListen for an address that a process could not bind.
        """
        with supervised(self._data_directory):
            for spec in self._specs:
                for address in spec.listen:
                    _check_free(spec.name, address)
            if self._refresh is not None:
                self._refresh()
            with self._signals_handled():
                await self._run_until_stopped(on_ready)
        if self._failure is None:
            return 0
        for line in _explanation(self._failure):
            self._log(OWN_NAME, line)
        return 1

    async def _run_until_stopped(self, on_ready: Callable[[], Awaitable[None]] | None) -> None:
        keepers = [self._watched(self._keep_running(spec)) for spec in self._specs]
        helpers = [self._watched(self._become_ready(on_ready))]
        if self._refresh is not None:
            helpers.append(self._watched(self._keep_refreshing(self._refresh)))
        try:
            await self._stopping.wait()
        finally:
            self._stopping.set()
            for helper in helpers:
                helper.cancel()
            await self._stop(keepers)
            await asyncio.wait(helpers, timeout=self._stop_grace_seconds)

    def _watched(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Start work as a task whose failure ends the run."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._end_if_failed)
        return task

    def _end_if_failed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
            self._stopping.set()

    async def _keep_running(self, spec: ProcessSpec) -> None:
        now = asyncio.get_running_loop().time
        delay = self._restart_delay_seconds
        while not self._stopping.is_set():
            started = now()
            status = await self._run_once(spec)
            if self._stopping.is_set():
                return
            if now() - started >= SETTLED_AFTER_SECONDS:
                delay = self._restart_delay_seconds
            self._log(spec.name, f"{_outcome(status)}; starting it again in {delay:g} s")
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()
            delay = min(delay * 2, MAX_RESTART_DELAY_SECONDS)

    async def _run_once(self, spec: ProcessSpec) -> int:
        """Run the process of spec to its end, its output going to the log; return its status."""
        # Our own pipe: the one of asyncio would hold back the end of a process until the last
        # holder of the pipe has gone.
        read_end, write_end = os.pipe()
        output = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(read_end, "rb", buffering=0)
        )
        with closing(transport):
            try:
                process = await _start(spec, write_end)
            finally:
                os.close(write_end)
            self._running[spec.name] = process
            if self._last_signal is not None:  # the stop came while the process was starting
                _signal_group(process, self._last_signal)
            copying = self._watched(self._copy_to_log(spec.name, output))
            status = await process.wait()
            del self._running[spec.name]
            await asyncio.wait([copying], timeout=DRAIN_TIMEOUT_SECONDS)
            copying.cancel()
            return status

    async def _copy_to_log(self, name: str, output: asyncio.StreamReader) -> None:
        async for line in _lines(output):
            self._log(name, line)

    async def _become_ready(self, on_ready: Callable[[], Awaitable[None]] | None) -> None:
        probing = {asyncio.create_task(_until_ready(spec)): spec.name for spec in self._specs}
        try:
            done, late = await asyncio.wait(
                probing,
                timeout=self._ready_timeout_seconds,
                return_when=asyncio.FIRST_EXCEPTION,
            )
        finally:
            for task in probing:
                task.cancel()
        for task in done:
            task.result()
        if late:
            names = [name for task, name in probing.items() if task in late]
            raise NotReady(names, self._ready_timeout_seconds)
        if on_ready is not None:
            await on_ready()

    async def _keep_refreshing(self, refresh: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(self._refresh_every_seconds)
            try:
                refresh()
            except OSError as error:
                # A token outlives several periods: a full disk is given time to be seen to.
                self._log(OWN_NAME, f"tokens were not renewed: {error}")

    async def _stop(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        """End every process; its keeper ends with it, after the last line of its log."""
        self._signal_all(signal.SIGTERM)
        _, late = await asyncio.wait(keepers, timeout=self._stop_grace_seconds)
        if late:
            names = ", ".join(self._running)
            self._signal_all(signal.SIGKILL)
            await asyncio.wait(late)
            self._log(OWN_NAME, f"killed after {self._stop_grace_seconds:g} s: {names}")

    def _signal_all(self, number: signal.Signals) -> None:
        self._last_signal = number
        for process in self._running.values():
            _signal_group(process, number)

    @contextmanager
    def _signals_handled(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stopping.is_set():
            self._signal_all(signal.SIGKILL)
        else:
            self._stopping.set()
            self._log(OWN_NAME, f"{number.name}: stopping")


async def _start(spec: ProcessSpec, output: int) -> asyncio.subprocess.Process:
    if sys.platform == "linux":
        mode, stdin = ["--parent", str(os.getpid())], asyncio.subprocess.DEVNULL
    else:
        mode, stdin = ["--watch-stdin"], asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-IS",
        child.__file__,
        *mode,
        "--",
        *spec.command,
        stdin=stdin,
        stdout=output,
        stderr=output,
        env={**os.environ, **spec.environment},
        # Its own session: the Ctrl-C of the terminal reaches the supervisor alone.
        start_new_session=True,
    )


def _signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        # It may have ended without being reaped yet; macOS then answers with PermissionError.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


async def _until_ready(spec: ProcessSpec) -> None:
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                if await spec.ready():
                    return
        await asyncio.sleep(PROBE_EVERY_SECONDS)


async def _lines(output: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yield the lines of output; a longer one comes in pieces of MAX_LINE_CHARACTERS."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    while chunk := await output.read(MAX_LINE_CHARACTERS):
        *whole, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in whole:
            for piece in _pieces(line):
                yield piece
        while len(rest) > MAX_LINE_CHARACTERS:
            yield rest[:MAX_LINE_CHARACTERS]
            rest = rest[MAX_LINE_CHARACTERS:]
    if rest := rest + decoder.decode(b"", final=True):
        yield rest


def _pieces(line: str) -> Iterator[str]:
    for start in range(0, max(len(line), 1), MAX_LINE_CHARACTERS):
        yield line[start : start + MAX_LINE_CHARACTERS]


def _check_free(name: str, address: str) -> None:
    """Raise PortInUse or CannotListen unless a process could bind address now."""
    host, _, port = address.rpartition(":")
    try:
        candidates = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise CannotListen(name, address, str(error)) from error
    failures = []
    for family, kind, protocol, _, socket_address in candidates:
        try:
            with socket.socket(family, kind, protocol) as probe:
                # Connections of an earlier run that linger in TIME_WAIT are no obstacle.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(socket_address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(name, address) from error
            failures.append(error)
    # A name such as localhost may stand for IPv6 too on a machine that has none.
    if len(failures) == len(candidates):
        raise CannotListen(name, address, str(failures[-1].strerror)) from failures[-1]


def _outcome(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"exited with status {status}"


def _explanation(error: BaseException) -> list[str]:
    if isinstance(error, CannotStart):
        return [str(error)]
    return "".join(traceback.format_exception(error)).splitlines()
