"""The byte stream between processes: a JSON header and an opaque body, each with its length in front.

Layout, big endian: 4 bytes header length, 8 bytes body length, header (UTF-8 JSON object), body.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Sequence
from typing import Any, Protocol

from worker_runtime.wire.errors import WireError

Header = dict[str, Any]

HEADER_LIMIT = 64 * 1024 * 1024
BODY_LIMIT = 16 * 1024**3

_LENGTHS = struct.Struct("!IQ")


class Source(Protocol):
    """What frames are read from: a stream of asyncio's, or what reads like one."""

    async def readexactly(self, n: int) -> bytes:
        """Read so many bytes. Raises IncompleteReadError where the stream ends before."""


def encode(header: Header, body: bytes | bytearray | memoryview = b"") -> "list[bytes | bytearray | memoryview]":
    """Return the pieces to write, in order. The body is not copied."""
    head = json.dumps(header, separators=(",", ":")).encode()
    return [_LENGTHS.pack(len(head), len(body)) + head, body] if body else [_LENGTHS.pack(len(head), 0) + head]


def pieces(head: bytes, bodies: "Sequence[bytes | bytearray | memoryview]") -> "list[bytes | bytearray | memoryview]":
    """The same for a header that is JSON already, and a body that comes in parts."""
    size = sum(map(len, bodies))
    return [_LENGTHS.pack(len(head), size) + head, *filter(len, bodies)]


async def read(reader: Source) -> tuple[Header, bytes]:
    """Read one frame.

    Raises:
        EOFError: the other side closed the stream.
        WireError: the stream does not carry frames.
    """
    try:
        head_length, body_length = _lengths(await reader.readexactly(_LENGTHS.size))
        header = _header(await reader.readexactly(head_length))
        return header, await reader.readexactly(body_length) if body_length else b""
    except asyncio.IncompleteReadError as error:
        raise EOFError("the other side closed the stream") from error


class Splitter:
    """Cuts the bytes of a stream into frames, however they arrive. Does no reading of its own.

    A body that is still on its way is gathered where it will stay, so that each of its bytes is copied once.
    """

    def __init__(self, body_limit: int = BODY_LIMIT) -> None:
        """`body_limit`: the largest body that is taken, in bytes. Memory for it is taken when it begins."""
        self._body_limit = body_limit
        self._rest = b""  # of a frame whose lengths or header are not whole
        self._header: Header | None = None  # of the frame whose body is on its way
        self._body = bytearray()
        self._filled = 0

    def feed(self, data: bytes) -> list[tuple[Header, bytes | bytearray]]:
        """The frames that are whole now. Raises WireError where these are none."""
        found: list[tuple[Header, bytes | bytearray]] = []
        start, end = 0, len(data)
        if self._header is not None:
            start = self._gather(data, 0)
            if self._filled < len(self._body):
                return found
            found.append((self._header, self._body))
            self._header, self._body = None, bytearray()
        if self._rest:
            data, self._rest = self._rest + data[start:], b""
            start, end = 0, len(data)
        while end - start >= _LENGTHS.size:
            head_length, body_length = _lengths_at(data, start, self._body_limit)
            head_start = start + _LENGTHS.size
            body_start = head_start + head_length
            if body_start > end:
                break
            header = _header(data[head_start:body_start])
            if body_start + body_length <= end:
                start = body_start + body_length
                found.append((header, data[body_start:start]))
                continue
            self._header, self._body, self._filled = header, bytearray(body_length), 0
            self._gather(data, body_start)
            return found
        self._rest = data[start:]
        return found

    @property
    def whole(self) -> bool:
        """Whether nothing is left of a frame that has not arrived as a whole."""
        return self._header is None and not self._rest

    def _gather(self, data: bytes, start: int) -> int:
        """Take what belongs to the body; give where the rest begins."""
        taken = min(len(data) - start, len(self._body) - self._filled)
        with memoryview(data) as view:
            self._body[self._filled : self._filled + taken] = view[start : start + taken]
        self._filled += taken
        return start + taken


def receive(sock: socket.socket) -> tuple[Header, bytes]:
    """Read one frame from a blocking socket; raises as `read` does."""
    head_length, body_length = _lengths(_exactly(sock, _LENGTHS.size))
    header = _header(_exactly(sock, head_length))
    return header, bytes(_exactly(sock, body_length)) if body_length else b""


def send(sock: socket.socket, header: Header, body: bytes = b"") -> None:
    """Write one frame to a blocking socket."""
    for piece in encode(header, body):
        sock.sendall(piece)


def _lengths(raw: bytes | bytearray) -> tuple[int, int]:
    return _lengths_at(raw, 0)


def _lengths_at(raw: bytes | bytearray, start: int, body_limit: int = BODY_LIMIT) -> tuple[int, int]:
    head_length, body_length = _LENGTHS.unpack_from(raw, start)
    if head_length > HEADER_LIMIT or body_length > body_limit:
        raise WireError(
            f"a frame announces {head_length} + {body_length} bytes; the other side does not speak this protocol"
        )
    return head_length, body_length


def _header(raw: bytes | bytearray) -> Header:
    try:
        header = json.loads(raw)
    except ValueError as error:
        raise WireError("a frame header is not JSON") from error
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
