"""The byte stream between processes: a JSON header and an opaque body, each with its length in front.

Layout, big endian: 4 bytes header length, 8 bytes body length, header (UTF-8 JSON object), body.
"""

import json
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from worker_runtime.wire.errors import WireError

Header = dict[str, Any]

Body = bytes | bytearray
"""What a frame carries; it may be kept, nobody changes it."""

T = TypeVar("T")

HEADER_LIMIT = 64 * 1024 * 1024
BODY_LIMIT = 16 * 1024**3

_LENGTHS = struct.Struct("!IQ")
_DECODER = json.JSONDecoder()
_ENCODER = json.JSONEncoder(separators=(",", ":"))


def encode(header: Header, body: "Body | memoryview" = b"") -> "list[Body | memoryview]":
    """Return the pieces to write, in order. The body is not copied."""
    return whole(head_of(header), body)


def head_of(header: Header) -> bytes:
    """The header as JSON."""
    return _ENCODER.encode(header).encode()


def whole(head: bytes, body: "Body | memoryview" = b"") -> "list[Body | memoryview]":
    """As `encode`, of a header that is JSON already."""
    return [_LENGTHS.pack(len(head), len(body)) + head, body] if body else [_LENGTHS.pack(len(head), 0) + head]


def pieces(head: bytes, bodies: "Sequence[bytes | bytearray | memoryview]") -> "list[bytes | bytearray | memoryview]":
    """The same for a header that is JSON already, and a body that comes in parts."""
    size = sum(map(len, bodies))
    return [_LENGTHS.pack(len(head), size) + head, *filter(len, bodies)]


class _Cutting(ABC, Generic[T]):
    """Cuts the bytes of a stream into frames, however they arrive. Does no reading of its own.

    A body that is still on its way is gathered where it will stay, so that each of its bytes is copied once; who reads
    a socket can have it put there at once: see `room`.
    """

    def __init__(self, body_limit: int = BODY_LIMIT) -> None:
        """`body_limit`: the largest body that is taken, in bytes. Memory for it is taken when it begins."""
        self._body_limit = body_limit
        self._rest = b""  # of a frame whose lengths or header are not whole
        self._head: bytes | None = None  # of the frame whose body is on its way
        self._body = bytearray()
        self._filled = 0

    def feed(self, data: bytes) -> list[T]:
        """The frames that are whole now. Raises WireError where these are none."""
        found: list[T] = []
        start, end = 0, len(data)
        if self._head is not None:
            start = self._gather(data)
            found += self._whole_body()
            if self._head is not None:
                return found
        if self._rest:
            data, self._rest = self._rest + data[start:], b""
            start, end = 0, len(data)
        while end - start >= _LENGTHS.size:
            head_length, body_length = _lengths_at(data, start, self._body_limit)
            head_start = start + _LENGTHS.size
            body_start = head_start + head_length
            if body_start > end:
                break
            head = data[head_start:body_start]
            if body_start + body_length <= end:
                start = body_start + body_length
                found.append(self._made(head, data[body_start:start]))
                continue
            self._head, self._body, self._filled = head, bytearray(body_length), 0
            self._gather(data[body_start:])
            return found
        self._rest = data[start:]
        return found

    def room(self) -> memoryview | None:
        """Where the next bytes belong, as all of them are of one body; None where they are to be fed."""
        return None if self._head is None else memoryview(self._body)[self._filled :]

    def filled(self, count: int) -> list[T]:
        """So many bytes were put into `room`; the frame, where it is whole now."""
        self._filled += count
        return self._whole_body()

    @property
    def whole(self) -> bool:
        """Whether nothing is left of a frame that has not arrived as a whole."""
        return self._head is None and not self._rest

    @abstractmethod
    def _made(self, head: bytes, body: Body) -> T:
        """A frame that is whole."""

    def _whole_body(self) -> list[T]:
        if self._head is None or self._filled < len(self._body):
            return []
        head, body = self._head, self._body
        self._head, self._body = None, bytearray()
        return [self._made(head, body)]

    def _gather(self, data: bytes) -> int:
        """Take what belongs to the body; give where the rest begins."""
        taken = min(len(data), len(self._body) - self._filled)
        with memoryview(data) as view:
            self._body[self._filled : self._filled + taken] = view[:taken]
        self._filled += taken
        return taken


class Splitter(_Cutting[tuple[Header, Body]]):
    """Cuts the bytes of a stream into frames: (header, body)."""

    def _made(self, head: bytes, body: Body) -> tuple[Header, Body]:
        return parse(head), body


class Cutter(_Cutting[tuple[bytes, Body]]):
    """As `Splitter`, for who passes frames on: their headers are as they came, see `parse` and `whole`."""

    def _made(self, head: bytes, body: Body) -> tuple[bytes, Body]:
        return head, body


def receive(sock: socket.socket) -> tuple[Header, bytes]:
    """Read one frame from a blocking socket.

    Raises:
        EOFError: the other side closed the stream.
        WireError: the stream does not carry frames.
    """
    head_length, body_length = _lengths(_exactly(sock, _LENGTHS.size))
    header = parse(_exactly(sock, head_length))
    return header, bytes(_exactly(sock, body_length)) if body_length else b""


def send_whole(sock: socket.socket, parts: "list[Body | memoryview]") -> None:
    """Write the pieces of one frame to a blocking socket: most often with one call of the system."""
    sent = sock.sendmsg(parts)
    for piece in parts:
        if sent < len(piece):
            sock.sendall(memoryview(piece)[sent:])
        sent = max(0, sent - len(piece))


def _lengths(raw: bytes | bytearray) -> tuple[int, int]:
    return _lengths_at(raw, 0)


def _lengths_at(raw: bytes | bytearray, start: int, body_limit: int = BODY_LIMIT) -> tuple[int, int]:
    head_length, body_length = _LENGTHS.unpack_from(raw, start)
    if head_length > HEADER_LIMIT or body_length > body_limit:
        raise WireError(
            f"a frame announces {head_length} + {body_length} bytes; the other side does not speak this protocol"
        )
    return head_length, body_length


def parse(raw: bytes | bytearray) -> Header:
    """The header that these bytes are. Raises WireError."""
    try:
        text = raw.decode()
        header, end = _DECODER.raw_decode(text)
    except ValueError as error:
        raise WireError("a frame header is not JSON") from error
    if end != len(text):
        raise WireError("a frame header is not JSON alone")
    if not isinstance(header, dict):
        raise WireError("a frame header is not a JSON object")
    return header


def _exactly(sock: socket.socket, count: int) -> bytearray:
    buffer = bytearray(count)
    view, filled = memoryview(buffer), 0
    while filled < count:
        got = sock.recv_into(view[filled:])
        if not got:
            raise EOFError("the other side closed the stream")
        filled += got
    return buffer
