"""The body of a request, read a little ahead."""

import asyncio
from typing import Any

import pytest

from runpod_flash.control_plane.balancing.inbound import Inbound
from tests.support.balanced import until

pytestmark = pytest.mark.anyio


class Client:
    """What a client sends, in the test's hands."""

    def __init__(self, *bodies: bytes, last: bytes | None = None) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.taken = 0
        for body in bodies:
            self.say(body)
        if last is not None:
            self.say(last, more=False)

    def say(self, body: bytes, *, more: bool = True) -> None:
        self.messages.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> dict[str, Any]:
        message = await self.messages.get()
        self.taken += 1
        return message


async def test_an_empty_part_comes_first_then_the_parts_as_they_come() -> None:
    client = Client(b"a", b"b", last=b"c")
    async with Inbound(client.receive, 10).reading() as inbound:
        assert [part async for part in inbound] == [b"", b"a", b"b", b"c"]
        assert inbound.complete
        assert not inbound.gone.is_set()


async def test_a_client_that_leaves_later_is_noticed() -> None:
    client = Client(last=b"")
    async with Inbound(client.receive, 10).reading() as inbound:
        client.leave()
        await asyncio.wait_for(inbound.gone.wait(), 5)
        assert [part async for part in inbound] == [b""]


async def test_a_client_that_leaves_within_its_body_ends_it_with_an_error() -> None:
    client = Client(b"a")
    async with Inbound(client.receive, 10).reading() as inbound:
        assert [await anext(inbound), await anext(inbound)] == [b"", b"a"]
        client.leave()
        with pytest.raises(ConnectionAbortedError):
            await anext(inbound)


async def test_a_body_over_the_limit_is_cut_off_while_it_comes() -> None:
    client = Client(b"12345", b"67890", b"1")
    async with Inbound(client.receive, 10).reading() as inbound:
        await until(lambda: inbound.too_large)
        with pytest.raises(ConnectionAbortedError):
            await anext(inbound)
        client.say(b"more", more=False)
        await inbound.swallow(5)
        assert client.taken == 4


async def test_a_body_at_the_limit_is_none_over_it() -> None:
    client = Client(b"12345", last=b"67890")
    async with Inbound(client.receive, 10).reading() as inbound:
        assert b"".join([part async for part in inbound]) == b"1234567890"


async def test_it_does_not_read_far_ahead_of_a_slow_worker() -> None:
    part = bytes(40_000)
    client = Client(*[part] * 10)
    async with Inbound(client.receive, 10**6).reading() as inbound:
        await until(lambda: client.taken == 2)
        await asyncio.sleep(0)
        assert client.taken == 2
        await anext(inbound)
        await anext(inbound)
        await until(lambda: client.taken == 3)


async def test_a_body_without_end_is_swallowed_within_bounds() -> None:
    client = Client(*[bytes(16 * 1024**2)] * 8)
    async with Inbound(client.receive, 10).reading() as inbound:
        await inbound.swallow(30)
        assert client.taken == 5
    async with Inbound(Client(b"x" * 11).receive, 10).reading() as inbound:
        await inbound.swallow(0.01)  # it does not go on; returns all the same
        assert inbound.too_large
