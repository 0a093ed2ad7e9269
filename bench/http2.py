"""A connection over HTTP/2 that calls a gRPC method at little cost to the machine.

A client in Python with the whole of gRPC costs more than the service that it calls, and on a
machine that both share it would measure itself. This one writes header blocks that never
change, keeps no state of header compression (it asks for tables of no size), and reads no more
of an answer than its status.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

import hpack

from bench.load import RESET, Begun, Ended
from bench.stream import Stream

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
CONTINUATION = 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 2, 3, 4
REFUSED_STREAM, CANCEL = 7, 8
LARGEST_WINDOW = 2**31 - 1
FIRST_WINDOW = 2**16 - 1
# Every server takes frames as large as this one.
LARGEST_FRAME = 2**14
# The length of the payload with the kind in its last byte, the flags, the stream.
HEAD = Struct(">IBI")
SETTING = Struct(">HI")
# What gRPC says of an answer that has no status.
UNKNOWN = 2
# `grpc-status: 0` as a literal: in letters, and by the Huffman code of HPACK with either value.
STATUS_OK = (
    b"\x0bgrpc-status\x010",
    b"\x88\x9a\xca\xc8\xb2\x124\xda\x8f\x010",
    b"\x88\x9a\xca\xc8\xb2\x124\xda\x8f\x81\x07",
)


class ProtocolError(Exception):
    """The server sent what this client does not read."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def header_block(headers: Sequence[tuple[str, str]]) -> bytes:
    """Return headers in a form that leaves no trace in any table, so that it may be repeated."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    return bytes(encoder.encode(headers, huffman=False))


def _status(block: bytes) -> int:
    """Return the status in a block of trailers."""
    for literal in STATUS_OK:
        if literal in block:
            return 0
    headers = {str(name): str(value) for name, value in hpack.Decoder().decode(block)}
    return int(headers.get("grpc-status", UNKNOWN))


@dataclass
class _Unsent:
    """What is left of a message, and how much of it the server takes on its stream."""

    body: bytes
    window: int


class Connection(Stream):
    """A connection and the calls that are on it."""

    def __init__(self, address: str, headers: bytes) -> None:
        super().__init__(address)
        self.leaving = False
        self._headers = headers
        self._next_stream = 1
        self._streams_limit = LARGEST_WINDOW
        # How many bytes the server takes on the connection, and at first on a stream.
        self._window = self._stream_window = FIRST_WINDOW
        # How many bytes it has sent since it was last told to go on.
        self._received = 0
        self._began: dict[int, Begun] = {}
        self._unsent: dict[int, _Unsent] = {}
        self._queued: deque[Begun] = deque()
        self._returned: list[Begun] = []
        self._input = bytearray()
        settings = SETTING.pack(HEADER_TABLE_SIZE, 0) + SETTING.pack(ENABLE_PUSH, 0)
        settings += SETTING.pack(INITIAL_WINDOW_SIZE, LARGEST_WINDOW)
        more = (LARGEST_WINDOW - FIRST_WINDOW).to_bytes(4, "big")
        self.output += PREFACE, frame(SETTINGS, 0, 0, settings), frame(WINDOW_UPDATE, 0, 0, more)

    @property
    def pending(self) -> int:
        """How many calls are on it."""
        return len(self._began) + len(self._queued)

    def call(self, message: bytes, due: float) -> None:
        """Begin a call as soon as the server has room for it; its time counts from `due`."""
        if len(self._began) >= self._streams_limit:
            self._queued.append((message, due))
            return
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._began[stream] = message, due
        self.output.append(frame(HEADERS, END_HEADERS, stream, self._headers))
        body = b"\0" + len(message).to_bytes(4, "big") + message
        size = len(body)
        if self._unsent or size > min(self._window, self._stream_window, LARGEST_FRAME):
            self._unsent[stream] = _Unsent(body, self._stream_window)
            self._send()
        else:
            self._window -= size
            self.output.append(frame(DATA, END_STREAM, stream, body))

    def hang_up(self) -> bool:
        """Cancel the oldest call; false if there is none."""
        stream = next(iter(self._began), None)
        if stream is None:
            return False
        self._forget(stream)
        self.output.append(frame(RST_STREAM, 0, stream, CANCEL.to_bytes(4, "big")))
        return True

    def receive(self) -> list[Ended]:
        """Take what has come, and return what ended; raises OSError for a lost connection."""
        data = self._input
        data += self.read()
        ended: list[Ended] = []
        at, size = 0, len(data)
        while size - at >= HEAD.size:
            length, flags, stream = HEAD.unpack_from(data, at)
            length, kind = length >> 8, length & 0xFF
            end = at + HEAD.size + length
            if end > size:
                break
            if kind == DATA:
                self._received += length
            if kind != DATA or flags & END_STREAM:
                payload = bytes(data[at + HEAD.size : end])
                status = self._take(kind, flags, stream, payload)
                if status is not None and (begun := self._forget(stream)) is not None:
                    ended.append((begun[1], status))
            at = end
        del data[:at]
        self._let_go_on()
        return ended

    def take_back(self) -> list[Begun]:
        """Return the calls that the server has not begun, and never will on this connection."""
        returned, self._returned = self._returned, []
        return returned

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> int | None:
        """Take a frame; return the status of its stream if it ends it."""
        if kind in (HEADERS, CONTINUATION):
            if kind == CONTINUATION or not flags & END_HEADERS or flags & (PADDED | PRIORITY):
                raise ProtocolError("a block of headers in a form that no server of gRPC uses")
            return _status(payload) if flags & END_STREAM else None
        if kind == DATA:
            return UNKNOWN
        if kind == RST_STREAM:
            return self._reset(stream, int.from_bytes(payload, "big"))
        if kind == PING and not flags & ACK:
            self.output.append(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
            self._set(payload)
        elif kind == WINDOW_UPDATE:
            self._widen(stream, int.from_bytes(payload, "big"))
        elif kind == GOAWAY:
            self._leave(int.from_bytes(payload[:4], "big") & LARGEST_WINDOW)
        return None

    def _reset(self, stream: int, code: int) -> int | None:
        if code != REFUSED_STREAM:
            return RESET
        if (begun := self._forget(stream)) is not None:
            self._returned.append(begun)
        return None

    def _set(self, payload: bytes) -> None:
        for number, value in SETTING.iter_unpack(payload):
            if number == MAX_CONCURRENT_STREAMS:
                self._streams_limit = value
            elif number == INITIAL_WINDOW_SIZE:
                for unsent in self._unsent.values():
                    unsent.window += value - self._stream_window
                self._stream_window = value
        self.output.append(frame(SETTINGS, ACK, 0))
        self._send()

    def _widen(self, stream: int, by: int) -> None:
        if stream == 0:
            self._window += by
        elif stream in self._unsent:
            self._unsent[stream].window += by
        self._send()

    def _leave(self, last_stream: int) -> None:
        self.leaving = True
        self._returned += self._queued
        self._queued.clear()
        for stream in [stream for stream in self._began if stream > last_stream]:
            if (begun := self._forget(stream)) is not None:
                self._returned.append(begun)

    def _forget(self, stream: int) -> Begun | None:
        """Let a call go, and another that waits begin; None if it was hung up before."""
        self._unsent.pop(stream, None)
        begun = self._began.pop(stream, None)
        if begun is not None and self._queued and len(self._began) < self._streams_limit:
            self.call(*self._queued.popleft())
        return begun

    def _send(self) -> None:
        """Send of the messages that wait as much as the server takes."""
        for stream, unsent in list(self._unsent.items()):
            while room := max(0, min(self._window, unsent.window, LARGEST_FRAME)):
                part, unsent.body = unsent.body[:room], unsent.body[room:]
                self._window -= len(part)
                unsent.window -= len(part)
                last = not unsent.body
                self.output.append(frame(DATA, END_STREAM if last else 0, stream, part))
                if last:
                    del self._unsent[stream]
                    break

    def _let_go_on(self) -> None:
        if self._received > LARGEST_WINDOW // 2:
            self.output.append(frame(WINDOW_UPDATE, 0, 0, self._received.to_bytes(4, "big")))
            self._received = 0
