"""A connection of TCP that never waits for its other end."""

import socket

CONNECT_SECONDS = 10
READ_BYTES = 256 * 1024


class Stream:
    """A connected socket, and what is still to be sent on it."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.output: list[bytes] = []

    def flush(self) -> bool:
        """Send what was begun, as far as it goes; false if some of it must wait."""
        if not self.output:
            return True
        data = b"".join(self.output)
        self.output.clear()
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.output.append(data[sent:])
        return not self.output

    def read(self) -> bytes:
        """Return what has come; raises OSError if nothing will."""
        came = self.socket.recv(READ_BYTES)
        if not came:
            raise ConnectionResetError("the server closed the connection")
        return came
