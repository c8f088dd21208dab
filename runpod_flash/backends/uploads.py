"""Files of any size go up in pieces, from where the platform says that the last attempt has come to."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from runpod_flash.backends.connection import Connection
from runpod_flash.backends.held import Answer, Held, Purpose
from runpod_flash.errors import BackendError

PIECE_BYTES = 8 * 1024**2

Said = Callable[[int, int], None]
"""Is told how many bytes have arrived, of how many."""

_OFFSET = "upload-offset"
_SILENCE_S = 120.0
_TRIES = 5  # answers in a row that leave an upload where it was
_CREATED, _NOT_FOUND, _CONFLICT = 201, 404, 409


async def bring(connection: Connection, path: str, source: Path, said: Said) -> None:
    """Bring a file to a path of the platform, unless it is there.

    A piece that a broken connection cut is sent once more; what had arrived of it counts, as does what an earlier
    program brought.

    Raises:
        PayloadTooLarge, ShippingError, BackendError: the platform does not take it, or cannot be reached for long.
    """
    total = (await asyncio.to_thread(source.stat)).st_size
    answer = await connection.hold(
        Held(Purpose.UPLOAD, "HEAD", path, _SILENCE_S, repeat=True, passes=lambda status, _: status == _NOT_FOUND)
    )
    if answer.status != _NOT_FOUND:
        said(total, total)
        return
    here, tries = _offset(answer), 0
    while True:
        said(min(here, total), total)
        answer = await _send(connection, path, source, 0 if here >= total else here, total)
        if answer.status == _CREATED:
            said(total, total)
            return
        before, here = here, _offset(answer)
        tries = tries + 1 if here <= before else 0
        if tries == _TRIES:
            raise BackendError(
                f"{connection.platform} has {here} of the {total} bytes of {source.name} and gets no further; does "
                "another program send the same? try again when it has ended"
            )


async def _send(connection: Connection, path: str, source: Path, start: int, total: int) -> Answer:
    """Send the next piece. An answer that says where to go on instead is given, too."""
    piece = await asyncio.to_thread(_read, source, start)
    if not piece or start + len(piece) > total:
        raise BackendError(f"{source} has changed while it was sent; build it anew and try again")
    headers = {
        "Content-Range": f"bytes {start}-{start + len(piece) - 1}/{total}",
        "Content-Type": "application/octet-stream",
    }
    held = Held(Purpose.UPLOAD, "PUT", path, _SILENCE_S, piece, headers, repeat=True, passes=_says_where)
    return await connection.hold(held)


def _says_where(status: int, headers: Mapping[str, str]) -> bool:
    return status == _CONFLICT and _OFFSET in headers


def _offset(answer: Answer) -> int:
    text = answer.headers.get(_OFFSET, "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def _read(source: Path, start: int) -> bytes:
    with source.open("rb") as file:
        file.seek(start)
        return file.read(PIECE_BYTES)
