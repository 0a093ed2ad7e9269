"""A call as the rest of the service sees it."""

import time
from dataclasses import dataclass

from services.chassis.identity import Principal
from services.chassis.policy import Method


@dataclass
class Call:
    """Who calls which method, under which id, and until when.

    `request_id` is the caller's, or one made here if the caller gave none. `token` is the
    caller's bearer token, for calls on the caller's behalf. `request_hash` is empty for a read.
    `ends_at` is monotonic. `replayed` is set once the answer is one that was stored before, and
    `serialized` to the bytes of an answer that is sent as it was stored.
    """

    method: Method
    principal: Principal
    token: str
    request_id: str
    request_hash: bytes
    ends_at: float
    replayed: bool = False
    serialized: bytes | None = None

    def remaining_seconds(self) -> float:
        """The time until the deadline; below zero once it has passed."""
        return self.ends_at - time.monotonic()
