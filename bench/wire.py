"""Calls gRPC methods at little cost to the machine; see `bench.http2`.

caller = Caller([Target("127.0.0.1:7101", "/vafa.contacts.v1.ContactService/GetContact", token)])
answers = caller.in_flight(messages, 32, seconds=4)
assert not answers.failures
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench import load
from bench.http2 import Connection, header_block

# As the client gives every call a deadline.
DEADLINE_SECONDS = 20


@dataclass(frozen=True)
class Target:
    """A method of a server, and as whom it is called."""

    address: str
    path: str
    token: str = ""

    def connect(self) -> Connection:
        """Return a new connection for calls of the method; raises OSError without a server."""
        return Connection(self.address, self.headers())

    def headers(self) -> bytes:
        """Return the headers of a call."""
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", self.path),
            (":authority", self.address),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", f"{DEADLINE_SECONDS}S"),
        ]
        if self.token:
            headers.append(("authorization", f"Bearer {self.token}"))
        return header_block(headers)


class Caller(load.Caller):
    """Calls a method over several connections, and counts what comes of it."""

    def __init__(self, targets: Sequence[Target], connections: int = 4) -> None:
        chosen = [targets[n % len(targets)] for n in range(max(connections, len(targets)))]
        super().__init__([target.connect for target in chosen])
