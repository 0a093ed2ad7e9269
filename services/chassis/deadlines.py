"""Deadlines of calls: one timer for all that end at about the same time."""

import asyncio
import time
from types import TracebackType

# So much later than its deadline a call may be ended.
STEP_SECONDS = 0.01


class Deadline:
    """A context that raises TimeoutError once its time is up, as asyncio.timeout does.

    For the task that enters it.
    """

    __slots__ = ("_cancellations", "_group", "_passed", "_task")

    def __init__(self, group: "set[Deadline]") -> None:
        self._group = group
        self._passed = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline is for a task")
        self._task = task
        self._cancellations = task.cancelling()
        self._group.add(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._group.discard(self)
        if self._passed:
            is_own = self._task.uncancel() <= self._cancellations
            if is_own and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def pass_(self) -> None:
        """End what is inside."""
        self._passed = True
        self._task.cancel()


class Deadlines:
    """Makes deadlines, on one event loop.

    A timer of its own for each call would cost it several microseconds, and nearly all of them
    are never needed.
    """

    def __init__(self) -> None:
        self._groups: dict[int, set[Deadline]] = {}

    def at(self, moment: float) -> Deadline:
        """Return a deadline, which passes within ten milliseconds after a monotonic moment."""
        step = int(moment / STEP_SECONDS) + 1
        group = self._groups.get(step)
        if group is None:
            group = self._groups[step] = set()
            seconds = step * STEP_SECONDS - time.monotonic()
            asyncio.get_running_loop().call_later(seconds, self._pass, step)
        return Deadline(group)

    def _pass(self, step: int) -> None:
        for deadline in self._groups.pop(step):
            deadline.pass_()
