"""The parent's end of the stream to the child, over a socket pair whose other end the test holds."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.support import framed
from worker_runtime.child_link import ChildLink
from worker_runtime.stream import Turn
from worker_runtime.tickets import Tickets
from worker_runtime.wire import frames
from worker_runtime.wire.frames import Body, Header

MANY = 50


class Scene:
    """A link, the child's end of it, and what the link hears."""

    def __init__(self) -> None:
        ours, self.child = socket.socketpair()
        self.link = ChildLink(ours, Turn())
        _, descriptors, _, _ = socket.recv_fds(self.child, 1, 2)
        self.tickets, self.aside = (socket.socket(fileno=descriptor) for descriptor in descriptors)
        self.heard: list[tuple[Header, bytes]] = []
        self.changed = asyncio.Event()
        self.listening = asyncio.ensure_future(self.link.listen(self._hear))

    def _hear(self, header: Header, head: bytes, body: Body) -> None:
        assert frames.parse(head) == header
        self.heard.append((header, bytes(body)))
        self.changed.set()

    async def next(self) -> tuple[Header, bytes]:
        while not self.heard:
            self.changed.clear()
            await self.changed.wait()
        return self.heard.pop(0)


def played(test: Callable[[Scene], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test with a link and the child's end of it."""

    async def with_a_link() -> None:
        scene = Scene()
        with scene.child, scene.tickets, scene.aside, contextlib.closing(scene.link):
            async with asyncio.timeout(20):
                await test(scene)
            scene.listening.cancel()
            await asyncio.wait([scene.listening])

    def run() -> None:
        asyncio.run(with_a_link())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@played
async def test_frames_go_both_ways_and_the_end_is_an_end_of_file(scene: Scene) -> None:
    big = bytes(range(256)) * 20_000
    scene.link.send({"type": "run"}, big)
    assert await asyncio.to_thread(frames.receive, scene.child) == ({"type": "run"}, big)
    answering = asyncio.create_task(asyncio.to_thread(framed.send, scene.child, {"type": "done"}, big))
    assert await scene.next() == ({"type": "done"}, big)
    await answering
    framed.send(scene.child, {"type": "done"}, b"last")
    scene.child.close()
    assert await scene.next() == ({"type": "done"}, b"last")
    with pytest.raises(EOFError):
        await scene.listening


@played
async def test_what_a_child_sent_is_read_though_it_read_nothing_itself_and_cannot_be_written_to(scene: Scene) -> None:
    scene.link.send({"type": "cancel"})  # never read: the socket's end is then an error and not an end of file
    for number in range(MANY):
        framed.send(scene.child, {"type": "done", "number": number})
    scene.child.close()
    for _ in range(10):
        scene.link.send({"type": "run"}, b"x" * 1_000_000)
        await asyncio.sleep(0)
    assert [(await scene.next())[0]["number"] for _ in range(MANY)] == list(range(MANY))
    with pytest.raises((EOFError, ConnectionError)):
        await scene.listening


@played
async def test_a_child_that_writes_without_a_pause_leaves_the_parent_its_turns(scene: Scene) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    thread = threading.Thread(target=framed.send, args=(scene.child, {"type": "done"}, bytes(30_000_000)))
    thread.start()
    assert len((await scene.next())[1]) == 30_000_000
    assert turns >= 30_000_000 // (256 * 1024)  # one for each piece, at least
    counting.cancel()
    thread.join()


@played
async def test_what_the_child_has_not_begun_can_be_taken_back_and_the_rest_keeps_its_order(scene: Scene) -> None:
    numbers = [scene.link.send({"type": "run"}) for _ in range(5)]
    for number in numbers:
        scene.link.let_begin(number)
    child = Tickets(scene.tickets)
    assert scene.link.take_back([numbers[1]]) == [numbers[1]]  # given at once, though the turn is not over
    assert child.next() == numbers[0]
    assert scene.link.take_back(numbers[:2]) == []
    assert scene.link.take_back([numbers[3], 99]) == [numbers[3]]
    assert [child.next(), child.next()] == [numbers[2], numbers[4]]
    assert scene.link.take_back(numbers) == []


@played
async def test_more_tickets_than_the_kernel_takes_are_given_later(scene: Scene) -> None:
    child = Tickets(scene.tickets)
    for number in range(1, 2001):
        scene.link.let_begin(number)
        await asyncio.sleep(0)  # each by itself
    taken = [await asyncio.to_thread(child.next) for _ in range(2000)]
    assert taken == list(range(1, 2001))


@played
async def test_what_is_said_aside_does_not_wait_for_the_frames(scene: Scene) -> None:
    scene.link.send({"type": "run"}, bytes(10_000_000))  # nobody reads it
    scene.link.say_aside({"type": "cancel"})
    assert (await asyncio.to_thread(frames.receive, scene.aside))[0] == {"type": "cancel"}
