"""The control plane's end of an arena, on a loop of its own, for processes and programs that use it."""

import asyncio
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from runpod_flash.control_plane.arena import Arena
from runpod_flash.control_plane.arena_file import ArenaFile
from runpod_flash.control_plane.arena_server import ArenaServer
from tests.support.waiting import wait_until
from worker_runtime.wire import PROTOCOL, payload
from worker_runtime.wire.arena_link import ArenaLink, greeted
from worker_runtime.wire.pieces import Pieces

T = TypeVar("T")

MEGABYTE = 1024 * 1024
OWNER = {"protocol": PROTOCOL, "key": "key"}


class Held:
    """An object with a buffer, as arrays are."""

    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Held, (pickle.PickleBuffer(self.buffer),)


class Plane:
    """The control plane's end."""

    def __init__(self, folder: Path, size: int, tokens: dict[str, str] | None = None) -> None:
        self.file = ArenaFile.create(folder / "arenas", folder / "state", size)
        self.arena = Arena(self.file)
        self.server = ArenaServer(self.arena, "key", (tokens or {"w": "token"}).get)
        self.path = str(folder / "arena.sock")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.do(lambda: self.server.start(self.path))

    def do(self, what: Callable[[], T]) -> T:
        """Do something on its loop."""

        async def done() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(10)

    def link(self, hello: dict[str, Any] = OWNER) -> ArenaLink:
        return ArenaLink(greeted(self.path, hello))

    def settle(self, used: int) -> None:
        wait_until(lambda: self.do(lambda: self.arena.used) == used, what=f"{used} bytes are in use")

    def close(self) -> None:
        self.do(self.server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.file.close(remove=True)


def pieces(fill: bytes, megabytes: int = 1) -> Pieces:
    found = payload.encode_pieces(Held(bytearray(fill) * (megabytes * MEGABYTE)))
    assert isinstance(found, Pieces)
    return found
