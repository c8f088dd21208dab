"""Streams of the worker's parent: written once a turn, read to the last byte."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.support import framed
from worker_runtime.stream import Stream, Turn
from worker_runtime.wire import frames
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.frames import Body


class Counted(socket.socket):
    """Counts its writes."""

    writes = 0

    def sendmsg(self, *args: Any) -> int:
        self.writes += 1
        return super().sendmsg(*args)


class Scene:
    """A stream, the other end of it, and what it hears."""

    def __init__(self) -> None:
        ours, self.other = socket.socketpair()
        self.socket = Counted(fileno=ours.detach())
        self.heard: list[tuple[frames.Header, bytes]] = []
        self.ends: list[Exception] = []
        self.turn = Turn()
        self.stream = Stream(self.socket, self.turn, self._hear, self.ends.append)

    def _hear(self, head: bytes, body: Body) -> None:
        header = frames.parse(head)
        if header.get("bad"):
            raise WireError("not this one")
        self.heard.append((header, bytes(body)))

    def write(self, number: int, body: bytes = b"") -> None:
        self.stream.write(frames.encode({"n": number}, body))

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.sleep(0.001)


def played(test: Callable[[Scene], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test with a scene."""

    async def on_a_loop() -> None:
        scene = Scene()
        with scene.other:
            async with asyncio.timeout(20):
                await test(scene)
            scene.stream.close()

    def run() -> None:
        asyncio.run(on_a_loop())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@played
async def test_frames_of_a_turn_are_one_write(scene: Scene) -> None:
    for number in range(50):
        scene.write(number)
    assert scene.socket.writes == 0
    await asyncio.sleep(0)
    assert scene.socket.writes == 1
    with scene.turn:
        scene.write(50)
        scene.write(51)
        assert scene.socket.writes == 1
    assert scene.socket.writes == 2  # at its end, and not a turn of the loop later
    assert [frames.receive(scene.other)[0]["n"] for _ in range(52)] == list(range(52))


@played
async def test_what_is_not_taken_at_once_leaves_later_and_whole(scene: Scene) -> None:
    large = bytes(range(256)) * 40_000
    scene.write(1, large)
    scene.write(2)
    await asyncio.sleep(0)
    assert 0 < scene.stream.backlog < len(large)
    draining = asyncio.ensure_future(scene.stream.drain())
    assert await asyncio.to_thread(frames.receive, scene.other) == ({"n": 1}, large)
    assert (await asyncio.to_thread(frames.receive, scene.other))[0] == {"n": 2}
    await draining
    assert scene.stream.backlog == 0


@played
async def test_what_has_arrived_is_taken_though_reading_pauses(scene: Scene) -> None:
    framed.send(scene.other, {"n": 1}, b"x")
    await asyncio.sleep(0.01)
    assert scene.heard == []
    scene.stream.pump()
    assert scene.heard == [({"n": 1}, b"x")]
    scene.stream.resume()
    framed.send(scene.other, {"n": 2})
    await scene.until(lambda: len(scene.heard) == 2)


@played
async def test_the_end_comes_once_and_after_all_that_was_sent(scene: Scene) -> None:
    scene.stream.resume()
    for number in range(20):
        framed.send(scene.other, {"n": number}, b"y" * 1000)
    scene.other.close()
    await scene.until(lambda: scene.ends)
    assert [header["n"] for header, _ in scene.heard] == list(range(20))
    scene.stream.pump()
    assert [type(end) for end in scene.ends] == [EOFError]
    scene.write(1)  # swallowed
    await asyncio.sleep(0)
    await scene.stream.drain()


@played
async def test_who_hears_may_refuse_a_frame_and_bytes_of_others_are_none(scene: Scene) -> None:
    scene.stream.resume()
    framed.send(scene.other, {"bad": True})
    await scene.until(lambda: scene.ends)
    assert isinstance(scene.ends[0], WireError)


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 40])
def test_bytes_that_are_no_frames_end_it(data: bytes) -> None:
    async def garbled(scene: Scene) -> None:
        scene.stream.resume()
        scene.other.sendall(data)
        await scene.until(lambda: scene.ends)
        assert isinstance(scene.ends[0], WireError)

    played(garbled)()
