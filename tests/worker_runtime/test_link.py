"""The worker's stream to its control plane."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from worker_runtime.link import Link, LinkLost
from worker_runtime.wire import frames

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def greeted_by(folder: Path, serve: Serve) -> None:
    """Connect and greet a server of a few lines."""

    async def main() -> None:
        server = await asyncio.start_unix_server(serve, folder / "s")
        link = await Link.connect(f"unix:{folder}/s")
        try:
            await asyncio.wait_for(link.greet("w", "t", 1), 10)
        finally:
            await link.close()
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
