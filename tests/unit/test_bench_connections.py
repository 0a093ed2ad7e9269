"""The bench's own connections, byte by byte, against a server that the test plays."""

import socket
from collections.abc import Iterator

import hpack
import pytest

from bench import http1, http2
from bench.http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW,
    GOAWAY,
    HEAD,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_FRAME,
    MAX_CONCURRENT_STREAMS,
    PING,
    PREFACE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTING,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from bench.load import RESET, Ended

Frame = tuple[int, int, int, bytes]


class Server:
    """The other end of a connection: what it has received, and what it sends."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._socket: socket.socket | None = None
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"

    def accept(self) -> None:
        """Take the connection that was made."""
        self._socket, _ = self._listening.accept()
        self._socket.settimeout(10)

    def send(self, *parts: bytes) -> None:
        """Send all of it at once."""
        assert self._socket is not None
        self._socket.sendall(b"".join(parts))

    def receive(self, size: int) -> bytes:
        """Return so many bytes of what comes."""
        assert self._socket is not None
        data = b""
        while len(data) < size:
            data += self._socket.recv(size - len(data))
        return data

    def frame(self) -> Frame:
        """Return the next frame: kind, flags, stream, payload."""
        length, flags, stream = HEAD.unpack(self.receive(HEAD.size))
        return length & 0xFF, flags, stream, self.receive(length >> 8)

    def close(self) -> None:
        """Close it."""
        self._listening.close()
        if self._socket is not None:
            self._socket.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that listens."""
    made = Server()
    yield made
    made.close()


@pytest.fixture
def connection(server: Server) -> Iterator[http2.Connection]:
    """A connection whose beginning the server has read."""
    made = http2.Connection(server.address, http2.header_block([(":path", "/a.B/C")]))
    server.accept()
    made.flush()
    assert server.receive(len(PREFACE)) == PREFACE
    assert [server.frame()[0] for _ in range(2)] == [SETTINGS, WINDOW_UPDATE]
    yield made
    made.socket.close()


def trailers(stream: int, *, huffman: bool = False, status: str = "0") -> bytes:
    """Return the end of a call."""
    block = bytes(hpack.Encoder().encode([("grpc-status", status)], huffman=huffman))
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, block)


def setting(number: int, value: int) -> bytes:
    """Return a frame with one setting."""
    return frame(SETTINGS, 0, 0, SETTING.pack(number, value))


def received(connection: http2.Connection, server: Server, *frames: bytes) -> list[Ended]:
    """Let the connection take what the server sends; return what ended, with all flushed."""
    server.send(*frames)
    ended: list[Ended] = []
    wanted = sum(map(len, frames))
    # However it comes apart on its way.
    while wanted > 0:
        ready = connection.socket.recv(1 << 16, socket.MSG_PEEK)
        wanted -= len(ready)
        ended += connection.receive()
    connection.flush()
    return ended


@pytest.mark.parametrize("huffman", [False, True])
@pytest.mark.parametrize("status", ["0", "5", "13", "16"])
def test_a_call_ends_with_its_status(
    connection: http2.Connection, server: Server, huffman: bool, status: str
) -> None:
    connection.call(b"abc", due=1.5)
    connection.flush()
    assert server.frame()[:3] == (HEADERS, END_HEADERS, 1)
    assert server.frame() == (DATA, END_STREAM, 1, b"\0\0\0\0\x03abc")
    assert connection.pending == 1
    answer = trailers(1, huffman=huffman, status=status)
    assert received(connection, server, frame(DATA, 0, 1, b"\0" * 9), answer) == [
        (1.5, int(status))
    ]
    assert connection.pending == 0


def test_a_message_is_sent_as_far_as_the_windows_go(
    connection: http2.Connection, server: Server
) -> None:
    message = bytes(range(256)) * 400
    connection.call(message, due=1.0)
    connection.call(b"small", due=2.0)
    connection.flush()
    sent = {1: b"", 3: b""}
    credit = FIRST_WINDOW

    def read(size: int) -> None:
        while size > 0:
            kind, _, stream, payload = server.frame()
            if kind == DATA:
                assert len(payload) <= LARGEST_FRAME
                sent[stream] += payload
                size -= len(payload)

    read(credit)
    assert len(sent[1]) == FIRST_WINDOW
    # Room on the connection alone is room for the other stream.
    received(connection, server, frame(WINDOW_UPDATE, 0, 0, (1 << 20).to_bytes(4, "big")))
    read(10)
    assert sent[3] == b"\0\0\0\0\x05small"
    assert len(sent[1]) == FIRST_WINDOW
    left = len(message) + 5 - FIRST_WINDOW
    received(connection, server, frame(WINDOW_UPDATE, 0, 1, (left - 7).to_bytes(4, "big")))
    read(left - 7)
    # A larger first window of streams holds for one that has begun, too.
    received(connection, server, setting(INITIAL_WINDOW_SIZE, FIRST_WINDOW + 7))
    read(7)
    assert sent[1] == b"\0" + len(message).to_bytes(4, "big") + message


def test_a_call_waits_for_a_place_among_the_streams(
    connection: http2.Connection, server: Server
) -> None:
    received(connection, server, setting(MAX_CONCURRENT_STREAMS, 1))
    assert server.frame()[:2] == (SETTINGS, ACK)
    connection.call(b"one", due=1.0)
    connection.call(b"two", due=2.0)
    connection.flush()
    assert [server.frame()[2] for _ in range(2)] == [1, 1]
    assert connection.pending == 2
    assert received(connection, server, trailers(1)) == [(1.0, 0)]
    assert [server.frame()[2] for _ in range(2)] == [3, 3]
    assert received(connection, server, trailers(3)) == [(2.0, 0)]


def test_a_ping_is_answered(connection: http2.Connection, server: Server) -> None:
    received(connection, server, frame(PING, 0, 0, b"12345678"))
    assert server.frame() == (PING, ACK, 0, b"12345678")


def test_what_the_server_has_not_begun_is_given_back(
    connection: http2.Connection, server: Server
) -> None:
    for n in range(3):
        connection.call(b"message", due=float(n))
    refused = frame(RST_STREAM, 0, 3, REFUSED_STREAM.to_bytes(4, "big"))
    assert received(connection, server, refused) == []
    assert connection.take_back() == [(b"message", 1.0)]
    assert connection.pending == 2
    last_stream_and_code = (1).to_bytes(4, "big") + bytes(4)
    assert received(connection, server, frame(GOAWAY, 0, 0, last_stream_and_code)) == []
    assert connection.leaving
    assert connection.take_back() == [(b"message", 2.0)]
    assert received(connection, server, trailers(1)) == [(0.0, 0)]


def test_a_call_that_was_given_up_ends_no_more(
    connection: http2.Connection, server: Server
) -> None:
    assert connection.hang_up() is False
    connection.call(b"one", due=1.0)
    connection.call(b"two", due=2.0)
    assert connection.hang_up() is True
    assert received(connection, server, trailers(1), trailers(3)) == [(2.0, 0)]


def test_a_stream_that_is_reset_is_a_failure(connection: http2.Connection, server: Server) -> None:
    connection.call(b"one", due=1.0)
    internal_error = (2).to_bytes(4, "big")
    assert received(connection, server, frame(RST_STREAM, 0, 1, internal_error)) == [(1.0, RESET)]


def test_a_connection_that_is_closed_is_lost(connection: http2.Connection, server: Server) -> None:
    server.close()
    with pytest.raises(OSError, match=r"closed|reset"):
        connection.receive()


def test_http1_takes_one_answer_at_a_time(server: Server) -> None:
    connection = http1.Connection(server.address)
    server.accept()
    one = http1.request("GET", "/one", server.address)
    two = http1.request("POST", "/two", server.address, b"{}")
    connection.call(one, due=1.0)
    connection.call(two, due=2.0)
    connection.flush()
    assert server.receive(len(one)) == one
    server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe")
    assert connection.receive() == []
    server.send(b"llo")
    assert connection.receive() == [(1.0, 0)]
    connection.flush()
    assert server.receive(len(two)) == two
    server.send(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    assert connection.receive() == [(2.0, 404)]
    assert connection.leaving
    assert connection.pending == 0
    connection.socket.close()
