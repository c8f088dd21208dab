"""The parent's end of the stream to the child, over a socket pair whose other end the test holds."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from worker_runtime.child_link import ChildLink
from worker_runtime.wire import frames

MANY = 50


def played(test: Callable[[ChildLink, socket.socket], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test with a link and the child's end of it."""

    async def with_a_link() -> None:
        ours, theirs = socket.socketpair()
        link = await ChildLink.open(ours)
        with theirs, contextlib.closing(link):
            async with asyncio.timeout(20):
                await test(link, theirs)

    def run() -> None:
        asyncio.run(with_a_link())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@played
async def test_frames_go_both_ways_and_the_end_is_an_end_of_file(link: ChildLink, child: socket.socket) -> None:
    big = bytes(range(256)) * 20_000
    link.send({"type": "run"}, big)
    assert await asyncio.to_thread(frames.receive, child) == ({"type": "run"}, big)
    answering = asyncio.create_task(asyncio.to_thread(frames.send, child, {"type": "done"}, big))
    assert await link.receive() == ({"type": "done"}, big)
    await answering
    frames.send(child, {"type": "done"}, b"last")
    child.close()
    assert await link.receive() == ({"type": "done"}, b"last")
    with pytest.raises(EOFError):
        await link.receive()


@played
async def test_what_a_child_sent_is_read_though_it_read_nothing_itself_and_cannot_be_written_to(
    link: ChildLink, child: socket.socket
) -> None:
    link.send({"type": "cancel"})  # never read: the socket's end is then an error and not an end of file
    for number in range(MANY):
        frames.send(child, {"type": "done", "number": number})
    child.close()
    for _ in range(10):
        link.send({"type": "run"}, b"x" * 1_000_000)
        await asyncio.sleep(0)
    assert [(await link.receive())[0]["number"] for _ in range(MANY)] == list(range(MANY))
    with pytest.raises((EOFError, ConnectionError)):
        await link.receive()


@played
async def test_a_child_that_writes_without_a_pause_leaves_the_parent_its_turns(
    link: ChildLink, child: socket.socket
) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    thread = threading.Thread(target=frames.send, args=(child, {"type": "done"}, bytes(30_000_000)))
    thread.start()
    assert len((await link.receive())[1]) == 30_000_000
    assert turns >= 30_000_000 // (256 * 1024)  # one for each piece, at least
    counting.cancel()
    thread.join()
