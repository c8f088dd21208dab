"""The worker's stream to its control plane."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support import framed
from worker_runtime import link
from worker_runtime.link import Link, LinkLost
from worker_runtime.wire import frames, messages

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def greeted_by(folder: Path, serve: Serve) -> None:
    """Connect and greet a server of a few lines."""

    async def main() -> None:
        server = await asyncio.start_unix_server(serve, folder / "s")
        stream = await Link.connect(f"unix:{folder}/s")
        try:
            await asyncio.wait_for(stream.greet("w", "t", 1), 10)
        finally:
            await stream.close()
            server.close()

    asyncio.run(main())


@pytest.mark.parametrize("address", ["unix:/no/such/socket", "tcp:127.0.0.1:1", "tcp:localhost", "http://x:1", ""])
def test_addresses_that_lead_nowhere(address: str) -> None:
    with pytest.raises(LinkLost, match="control plane"):
        asyncio.run(Link.connect(address))


def test_a_server_that_hangs_up(short_folder: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    with pytest.raises(LinkLost, match="closed the link"):
        greeted_by(short_folder, serve)


def test_a_server_of_another_kind(short_folder: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    with pytest.raises(LinkLost, match="broke the protocol"):
        greeted_by(short_folder, serve)


def test_a_server_that_does_not_welcome(short_folder: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.writelines(frames.encode({"type": "run"}))
        await reader.read()
        writer.close()

    with pytest.raises(LinkLost, match="'run'"):
        greeted_by(short_folder, serve)


def test_what_was_sent_last_is_read_by_a_server_that_writes_before_it_reads(short_folder: Path) -> None:
    served, closing, heard = asyncio.Event(), asyncio.Event(), list[int]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.writelines(frames.encode({"type": messages.WELCOME}))
        await framed.read(reader)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # typed as one that cannot read
        served.set()
        await closing.wait()
        for _ in range(5):
            writer.writelines(frames.encode({"type": messages.CANCEL}))
            await asyncio.sleep(0)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(EOFError):
            while True:
                heard.append((await framed.read(reader))[0]["number"])
        writer.close()

    async def main() -> None:
        server = await asyncio.start_unix_server(serve, short_folder / "s")
        stream = await Link.connect(f"unix:{short_folder}/s")
        await stream.greet("w", "t", 1)
        await served.wait()
        for number in range(100):
            stream.send({"type": messages.DONE, "number": number})
        ended = asyncio.create_task(stream.close())
        await asyncio.sleep(0)
        closing.set()
        await asyncio.wait_for(ended, 10)
        server.close()

    asyncio.run(main())
    assert heard == list(range(100))


def test_a_server_that_does_not_see_the_end_holds_it_up_for_a_while_only(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_CLOSE_S", 0.05)
    closed, ended = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closed.wait()
        writer.close()
        ended.set()

    async def main() -> None:
        server = await asyncio.start_unix_server(serve, short_folder / "s")
        stream = await Link.connect(f"unix:{short_folder}/s")
        stream.send({"type": messages.DONE}, bytes(10_000_000))
        await asyncio.wait_for(stream.close(), 10)
        closed.set()
        await ended.wait()
        server.close()

    asyncio.run(main())
