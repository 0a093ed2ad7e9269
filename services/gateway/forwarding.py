"""Questions to the services on the caller's behalf."""

from collections.abc import Awaitable
from typing import Any

from services.chassis.call import Call
from vafa.errors import VafaError

# Kept back from the deadline of the call, to put the answers together and send them.
MARGIN_SECONDS = 0.1


def for_caller(call: Call) -> dict[str, Any]:
    """Return how a service is asked for a caller: with their own token, since who may not ask
    there may not see it here, and within what is left of their time.
    """
    return {
        "metadata": (("authorization", f"Bearer {call.token}"),),
        "timeout": max(0.001, call.remaining_seconds() - MARGIN_SECONDS),
    }


async def answer_or_error(question: Awaitable[Any]) -> Any:
    """Return the answer, or the VafaError instead of it."""
    try:
        return await question
    except VafaError as error:
        return error
