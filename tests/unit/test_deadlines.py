"""Deadlines: what they end, and what they leave alone."""

import asyncio
import time
from contextlib import suppress

import pytest

from services.chassis.deadlines import Deadlines

SOON, LATE = 0.02, 60.0


async def forever() -> None:
    """Wait for what does not come."""
    await asyncio.Event().wait()


def test_what_is_in_time_is_left_alone() -> None:
    async def work() -> str:
        with Deadlines().at(time.monotonic() + LATE):
            await asyncio.sleep(0)
            return "done"

    assert asyncio.run(work()) == "done"


def test_a_deadline_ends_what_is_inside_and_is_told_as_a_timeout() -> None:
    async def work() -> tuple[float, int]:
        deadline = time.monotonic() + SOON
        with pytest.raises(TimeoutError), Deadlines().at(deadline):
            await forever()
        task = asyncio.current_task()
        assert task is not None
        return time.monotonic() - deadline, task.cancelling()

    late_seconds, cancellations = asyncio.run(work())
    assert late_seconds > -0.005
    assert cancellations == 0


def test_a_deadline_that_has_passed_ends_what_waits() -> None:
    async def work() -> None:
        with Deadlines().at(time.monotonic() - LATE):
            await forever()

    with pytest.raises(TimeoutError):
        asyncio.run(work())


def test_calls_with_one_deadline_end_each_for_itself() -> None:
    async def work() -> list[object]:
        deadlines, ends_at = Deadlines(), time.monotonic() + SOON

        async def call(done: bool) -> str:
            with deadlines.at(ends_at):
                if not done:
                    await forever()
            return "done"

        return await asyncio.gather(*map(call, (True, False, False)), return_exceptions=True)

    first, *others = asyncio.run(work())
    assert first == "done"
    assert [type(one) for one in others] == [TimeoutError, TimeoutError]


def test_who_is_cancelled_is_not_told_of_a_timeout() -> None:
    async def call(deadlines: Deadlines) -> None:
        with deadlines.at(time.monotonic() + LATE):
            await forever()

    async def work() -> bool:
        task = asyncio.create_task(call(Deadlines()))
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return task.cancelled()

    assert asyncio.run(work())


def test_a_cancellation_beside_the_deadline_stays_one() -> None:
    async def call() -> None:
        with Deadlines().at(time.monotonic() + SOON):
            try:
                await forever()
            finally:
                # As when the caller hangs up in the same moment.
                task = asyncio.current_task()
                assert task is not None
                task.cancel()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(call())


def test_what_ends_well_although_its_time_is_up_has_ended_well() -> None:
    async def work() -> tuple[str, int]:
        with Deadlines().at(time.monotonic() + SOON):
            with suppress(asyncio.CancelledError):
                await forever()
            answer = "done"
        task = asyncio.current_task()
        assert task is not None
        # What comes after is not cancelled.
        await asyncio.sleep(0)
        return answer, task.cancelling()

    assert asyncio.run(work()) == ("done", 0)
