"""Large values of calls to a lent worker: a worker that the test plays, and memory that keeps what is done with it."""

import asyncio
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from runpod_flash.backends import direct as direct_module
from runpod_flash.backends.streak import FIRST
from tests.runpod_flash.backends.test_direct import Scene, Worker, test
from worker_runtime.wire import direct
from worker_runtime.wire.jobs import Payload
from worker_runtime.wire.ranges import Range

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are lent on Linux alone")


class Bytes(bytearray):
    """Of which it is seen that nobody uses them any more."""


class Room:
    """A room that a test sees: its bytes are kept by the memory."""

    def __init__(self, memory: "Memory", found: Range, is_fresh: bool) -> None:
        self.memory, self.found, self.is_fresh = memory, found, is_fresh

    def written(self, size: int, *, again: bool) -> memoryview:
        self.memory.said.append(("written", self.found.number, again))
        written = Bytes(size)
        weakref.finalize(written, self.memory.said.append, ("unused", self.found.number))
        return memoryview(written)

    def reuse(self) -> None:
        self.memory.said.append(("reuse", self.found.number))

    def free(self, *, unbacked: bool = False) -> None:
        self.memory.said.append(("unbacked" if unbacked else "free", self.found.number))


class Memory:
    """Shared memory, as far as calls to a lent worker use it."""

    name = "theirs"

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.number, self.is_fresh = 100, False

    def offer(self, size: int) -> Any:
        self.number += 1
        return Room(self, Range(7, self.number, 65536, 2 * size), self.is_fresh)

    def reuse(self, payload: Payload) -> None:
        self.said.append(("reuse", payload.range))

    def give_back(self, payload: Payload) -> None:
        self.said.append(("free", payload.range))

    def source(self, payload: Payload) -> Callable[[], Payload]:
        return lambda: Payload.in_range(Range(8, 9, 65536, payload.size))


LARGE = 10 * direct.LARGE
PLACED = Payload.in_range(Range(7, 1, 65536, LARGE))


async def with_memory(scene: Scene) -> tuple[Memory, Worker]:
    """A worker that shares memory with the client."""
    memory = Memory()
    scene.talk._direct = direct_module.Direct(scene.talk, memory)
    await scene.lone(FIRST)
    worker = Worker(scene)
    assert worker.asked["memory"] == "theirs"
    worker.hello(memory=True)
    await worker.next("welcome")
    return memory, worker


@test
async def test_large_values_lie_in_ranges_of_the_program(scene: Scene) -> None:
    memory, worker = await with_memory(scene)
    taken: list[Payload] = []
    scene.talk.taken = taken.append
    waiting = scene.call(PLACED)
    header, body = await worker.next("run")
    assert (header["range"], header.get("room"), body) == (PLACED.range, None, b"")
    worker.say({"type": "need", "number": 1, "size": LARGE})
    answer, _ = await worker.next("room")
    assert (Range.parse(answer["room"]).number, answer["fresh"]) == (101, False)
    worker.say({"type": "done", "number": 1, "size": LARGE}, b"")
    assert len((await waiting).taken()) == LARGE
    assert memory.said == [("reuse", PLACED.range), ("written", 101, True), ("unused", 101)], "however long it is known"
    while (await worker.next("read"))[0]["number"] != 1:
        pass
    waiting = scene.call(PLACED)  # a result of that size is expected
    header, _ = await worker.next("run")
    assert Range.parse(header["room"]).number == 102
    worker.say({"type": "done", "number": 2, "held": "known"}, b"small")
    assert bytes(await waiting) == b"small"
    assert memory.said[2:] == [("unused", 101), ("free", PLACED.range), ("reuse", 102)]
    waiting = scene.call(PLACED)
    assert "room" not in (await worker.next("run"))[0]
    worker.say({"type": "done", "number": 3, "held": "unknown"}, b"small")
    await waiting
    assert len(memory.said) == 5, "nobody knows how long that is used"
    assert not taken


@test
async def test_ranges_of_a_call_that_was_told_are_given_back_by_a_word(scene: Scene) -> None:
    memory, worker = await with_memory(scene)
    taken: list[Payload] = []
    scene.talk.taken = taken.append
    waiting = scene.call(PLACED)
    while not scene.way.of("begun"):
        await asyncio.sleep(direct_module.SOON_S)
    assert scene.way.of("begun")[0][0]["jobs"][0][1] == {"range": PLACED.range, "size": LARGE}
    worker.say({"type": "need", "number": 1, "size": LARGE})
    for kind in ("run", "room"):
        await worker.next(kind)
    worker.say({"type": "done", "number": 1, "size": LARGE})
    found = Range(7, 101, 65536, LARGE)
    told = [waiting.key, "j", Payload.in_range(found, 5.0).to_json(), "w", 0, 1, 2]
    scene.talk.take({"type": "ended", "jobs": [told]}, b"")  # by another way, which was faster
    assert len(waiting.result().taken()) == LARGE
    assert memory.said == [("written", 101, False), ("unused", 101)], "the arguments are the job's"
    assert taken == [Payload.in_range(found, 5.0)]


@test
async def test_a_result_of_which_the_control_plane_will_tell_is_there_until_then(scene: Scene) -> None:
    memory, worker = await with_memory(scene)
    waiting = scene.call(PLACED)
    while not scene.way.of("begun"):
        await asyncio.sleep(direct_module.SOON_S)
    worker.say({"type": "need", "number": 1, "size": LARGE})
    for kind in ("run", "room"):
        await worker.next(kind)
    worker.say({"type": "done", "number": 1, "size": LARGE})
    (await waiting).taken()
    told = [waiting.key, "j", Payload.in_range(Range(7, 101, 65536, LARGE), 5.0).to_json(), "w", 0, 1, 2]
    assert memory.said == [("free", PLACED.range), ("written", 101, False)]
    scene.talk.take({"type": "ended", "jobs": [told]}, b"")
    assert memory.said[2:] == [("unused", 101)]


@test
async def test_what_the_worker_may_still_use_is_given_to_nobody(scene: Scene) -> None:
    memory, worker = await with_memory(scene)
    first = scene.call(PLACED)
    worker.say({"type": "need", "number": 1, "size": LARGE})
    for kind in ("run", "room"):
        await worker.next(kind)
    first.kind.conversation.tell_begun(first)  # type: ignore[attr-defined]  # as it does after a while
    first.is_told = True
    event = {"event": "job", "key": first.key, "job": {"id": "j1", "status": "CANCELLED"}}
    scene.talk.take({"type": "events", "events": [event]}, b"")
    await first
    assert memory.said == []
    second = scene.call(PLACED)
    worker.say({"type": "done", "number": 1, "size": LARGE})
    worker.say({"type": "bye", "last": 1})
    while scene.way.of("submit")[-1][0]["jobs"][0][0] != second.key:
        await asyncio.sleep(0)
    assert memory.said == [("free", 101)]


@test
async def test_a_room_without_memory_that_was_not_written_is_said_to_have_none(scene: Scene) -> None:
    memory, worker = await with_memory(scene)
    memory.is_fresh = True
    scene.call(PLACED)
    worker.say({"type": "need", "number": 1, "size": LARGE})
    for kind in ("run", "room"):
        await worker.next(kind)
    worker.socket.close()
    while not scene.way.of("begun"):
        await asyncio.sleep(0)
    assert memory.said == [("unbacked", 101)], "the arguments are needed"


@test
async def test_arguments_are_brought_to_the_next_control_plane(scene: Scene) -> None:
    memory, worker = await with_memory(scene)
    waiting = scene.call(PLACED)
    await worker.next("run")
    scene.talk.down()
    while not scene.way.of("begun"):
        await asyncio.sleep(0)
    moved = Range(8, 9, 65536, LARGE).name
    assert scene.way.of("begun")[0][0]["jobs"] == [[waiting.key, {"range": moved, "size": LARGE}]]
    assert memory.said == []


@test
async def test_a_worker_that_shares_no_memory_gets_no_large_call(scene: Scene) -> None:
    scene.talk._direct = direct_module.Direct(scene.talk, Memory())
    await scene.lone(FIRST)
    waiting = scene.call(PLACED)
    worker = Worker(scene)
    worker.hello()
    await worker.next("welcome")
    assert scene.way.of("submit")[-1][0]["jobs"][0][0] == waiting.key
