"""The other end of a stream of frames, as tests play it."""

import asyncio
import socket

from worker_runtime.wire import frames
from worker_runtime.wire.frames import Header

_LENGTHS = 12


async def read(reader: asyncio.StreamReader) -> tuple[Header, bytes]:
    """The next frame, and nothing of what follows it. Raises EOFError where the stream ends before."""
    try:
        lengths = await reader.readexactly(_LENGTHS)
        rest = int.from_bytes(lengths[:4]) + int.from_bytes(lengths[4:])
        ((header, body),) = frames.Splitter().feed(lengths + await reader.readexactly(rest))
    except asyncio.IncompleteReadError as error:
        raise EOFError("the other side closed the stream") from error
    return header, bytes(body)


def send(sock: socket.socket, header: Header, body: bytes = b"") -> None:
    """Write one frame to a blocking socket."""
    frames.send_whole(sock, frames.encode(header, body))
