"""Work goes on for as long as the client is there, and no longer."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from runpod_flash.control_plane.api.connected import while_connected

pytestmark = pytest.mark.anyio


class Client:
    """A client that leaves when the test says so."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()
        self.asked = 0
        self.heard: list[str] = []

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        if self.asked == 1:
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    @property
    def request(self) -> Request:
        return Request({"type": "http", "method": "GET", "headers": []}, self.receive)


async def test_the_result_of_work_that_ends_is_given(anyio_backend: str) -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 42

    assert await while_connected(Client().request, work()) == 42


async def test_an_error_is_raised(anyio_backend: str) -> None:
    async def work() -> None:
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        await while_connected(Client().request, work())


async def test_work_is_cancelled_when_the_client_leaves_and_has_ended_then(anyio_backend: str) -> None:
    client, heard = Client(), list[str]()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            heard.append("cancelled")
            raise

    waiting = asyncio.ensure_future(while_connected(client.request, work()))
    await asyncio.sleep(0)
    client.leaves.set()
    assert await asyncio.wait_for(waiting, 10) is None
    assert heard == ["cancelled"]


async def test_both_end_when_the_one_who_waits_is_cancelled(anyio_backend: str) -> None:
    client, ended = Client(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    waiting = asyncio.ensure_future(while_connected(client.request, work()))
    while client.asked < 2:
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
    assert not [task for task in asyncio.all_tasks() if "_gone" in repr(task)]
