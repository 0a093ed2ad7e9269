"""Start a command that does not outlive the supervisor. Run as a script, with no imports of ours.

    child.py --parent PID -- COMMAND...    Linux: becomes COMMAND; the kernel kills it with PID
    child.py --watch-stdin -- COMMAND...   elsewhere: kills COMMAND when its own input ends

The script runs isolated from the environment that it hands on to the command.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from types import FrameType
from typing import NoReturn

_PR_SET_PDEATHSIG = 1


def become(command: list[str], parent_pid: int) -> NoReturn:
    """Turn this process into command, which dies at once when parent_pid does."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # A parent that ended before the call above sends no signal any more.
    if os.getppid() != parent_pid:
        sys.exit(f"process {parent_pid} ended before {command[0]} could start")
    os.execvp(command[0], command)  # noqa: S606 - the supervisor's own command


def guard(command: list[str]) -> int:
    """Run command until it exits or our input ends; return its status, 128 + n for signal n."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    # SIGTERM goes to the whole process group; the command answers it, and we wait for that.
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, _wake_up)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - as above
    stdin = sys.stdin.fileno()
    while process.poll() is None:
        readable, _, _ = select.select([stdin, woken], [], [])
        if woken in readable:
            os.read(woken, 64)
        if stdin in readable and not os.read(stdin, 64):
            process.kill()
            process.wait()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _wake_up(_number: int, _frame: FrameType | None) -> None:
    """Let the number be written to the wakeup descriptor, where select sees it."""


def main(arguments: list[str]) -> int:
    try:
        match arguments:
            case ["--parent", pid, "--", *command] if command:
                become(command, int(pid))
            case ["--watch-stdin", "--", *command] if command:
                return guard(command)
            case _:
                sys.exit(__doc__)
    except OSError as error:
        sys.exit(f"cannot start {' '.join(arguments)}: {error}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
