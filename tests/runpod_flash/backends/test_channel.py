"""The client's end of the socket: what comes in pieces, what does not fit into the socket, and its end."""

import asyncio
import gc
import os
import socket
import warnings
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.backends import channel as channels
from tests.support import framed
from worker_runtime.wire import frames

KEY = "secret"


class Peer:
    """The other side of the socket, by hand."""

    def __init__(self, path: Path) -> None:
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen()

    async def accept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.listening.setblocking(False)
        sock, _ = await asyncio.get_running_loop().sock_accept(self.listening)
        self.listening.close()
        return await asyncio.open_unix_connection(sock=sock)


async def connected(folder: Path, heard: list[Any]) -> tuple[channels.Channel, Any, Any]:
    path = folder / "s"
    peer = Peer(path)
    channel = await channels.connect(str(path), KEY, "c", lambda header, body: heard.append((header, bytes(body))))
    reader, writer = await peer.accept()
    assert await framed.read(reader) == ({"type": "hello", "protocol": 1, "key": KEY, "client": "c"}, b"")
    return channel, reader, writer


def run(work: Any) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


def test_frames_go_both_ways_however_they_are_cut(tmp_path: Path) -> None:
    async def main() -> None:
        heard: list[Any] = []
        channel, reader, writer = await connected(tmp_path, heard)
        data = b"".join(piece for n in range(20) for piece in frames.encode({"type": "t", "n": n}, bytes(n * 9000)))
        for start in range(0, len(data), 70_001):
            writer.write(data[start : start + 70_001])
            await writer.drain()
        while len(heard) < 20:
            await asyncio.sleep(0.001)
        assert [(header["n"], len(body)) for header, body in heard] == [(n, n * 9000) for n in range(20)]
        channel.tell({"type": "watch", "jobs": ["j"]})
        assert await framed.read(reader) == ({"type": "watch", "jobs": ["j"]}, b"")
        channel.close()
        channel.close()
        assert await reader.read() == b""
        assert await channel.lost is None
        writer.close()

    run(main())


def test_what_the_socket_does_not_take_waits_and_keeps_its_order(tmp_path: Path) -> None:
    async def main() -> None:
        channel, reader, writer = await connected(tmp_path, [])
        for number in range(400):
            channel.write(list(frames.encode({"n": number}, bytes(10_000))))
        for number in range(400):
            header, body = await framed.read(reader)
            assert (header, len(body)) == ({"n": number}, 10_000)
        channel.close()
        writer.close()

    run(main())


def test_the_end_and_nonsense_of_the_other_side_are_told(tmp_path: Path) -> None:
    async def main() -> None:
        for number, (data, said) in enumerate(((b"", None), (b"GET / HTTP/1.1\r\n\r\n", "does not speak"))):
            folder = tmp_path / str(number)
            folder.mkdir()
            channel, _, writer = await connected(folder, [])
            writer.write(data)
            if not data:
                writer.close()
            reason = await channel.lost
            assert (reason is None) if said is None else (said in str(reason))
            channel.tell({"type": "of nobody any more"})
            writer.close()

    run(main())


def test_a_silent_platform_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "SILENCE_S", 0.05)

    async def main() -> None:
        channel, _, writer = await connected(tmp_path, [])
        assert isinstance(await channel.lost, TimeoutError)
        writer.close()

    run(main())


def test_a_loop_that_is_closed_without_a_word_leaves_no_socket_and_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop = asyncio.new_event_loop()
        channel = loop.run_until_complete(channels.connect(str(path), KEY, "c", lambda header, body: None))
        number = channel._sock.fileno()
        loop.close()
        del channel, loop
        gc.collect()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(number)
    listening.close()


def test_nobody_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        run(channels.connect(str(tmp_path / "none"), KEY, "c", lambda header, body: None))
