"""The byte stream between processes: a JSON header and an opaque body, each with its length in front.

Layout, big endian: 4 bytes header length, 8 bytes body length, header (UTF-8 JSON object), body.
"""

import asyncio
import json
import socket
import struct
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


def encode(header: Header, body: bytes = b"") -> list[bytes]:
    """Return the pieces to write, in order. The body is not copied."""
    head = json.dumps(header, separators=(",", ":")).encode()
    return [_LENGTHS.pack(len(head), len(body)) + head, body] if body else [_LENGTHS.pack(len(head), 0) + head]


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
    head_length, body_length = _LENGTHS.unpack(raw)
    if head_length > HEADER_LIMIT or body_length > BODY_LIMIT:
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
