"""How batches form, run and end, on the loop of this process."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from worker_runtime.batching import Batches, Member
from worker_runtime.execute import Artifacts, Execution, Outcome
from worker_runtime.instances import Instances
from worker_runtime.wire import encoding, neutral, payload
from worker_runtime.wire.batch import Batch
from worker_runtime.wire.jobs import Call, ErrorKind, Instance, Payload
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest

LIMITS = Batch(3, 60_000)
AT_ONCE = Batch(3, 0)
STARTED: list[list[Any]] = []
GATE = threading.Event()
STOPPED = threading.Event()


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    STARTED.clear()
    GATE.clear()
    STOPPED.clear()
    yield
    GATE.set()


def double(xs: list[int]) -> list[int]:
    STARTED.append(xs)
    return [x * 2 for x in xs]


def pair(xs: list[int], ys: list[int]) -> list[tuple[int, int]]:
    return list(zip(xs, ys, strict=True))


def hold(xs: list[int]) -> list[int]:
    STARTED.append(xs)
    GATE.wait(30)
    return xs


def spin(xs: list[int]) -> list[int]:
    STARTED.append(xs)
    try:
        while not GATE.is_set():
            pass
    except KeyboardInterrupt:
        STOPPED.set()
        raise
    return xs


async def sleep(xs: list[int]) -> list[int]:
    STARTED.append(xs)
    try:
        while not GATE.is_set():
            await asyncio.sleep(0.001)
    except asyncio.CancelledError:
        STOPPED.set()
        raise
    return xs


def refuse_odd(xs: list[int]) -> list[Any]:
    STARTED.append(xs)
    return [ValueError(x) if x % 2 else x for x in xs]


class Adder:
    def __init__(self, by: int) -> None:
        if by < 0:
            raise ValueError("by")
        self.by = by

    async def add(self, xs: list[int]) -> list[int]:
        STARTED.append(xs)
        return [x + self.by for x in xs]


class Scene:
    """What a child holds, and short ways to use it. Made inside an event loop."""

    def __init__(self, target: Any, limits: Batch = LIMITS, at_once: int = 1) -> None:
        self.artifacts, self.instances, self.limits, self.at_once = Artifacts(), Instances(), limits, at_once
        self.pool = ThreadPoolExecutor(4)
        self.batches = Batches(self.pool)
        code = payload.encode(target)
        request = EnvironmentRequest("3.11")
        manifest = ArtifactManifest("function", target.__name__, "0", request, batch=limits, max_concurrency=3)
        self.artifacts.add(manifest.id, manifest, code)
        self.id = manifest.id
        self.members: list[Member] = []

    def call(
        self,
        *args: Any,
        begin: Callable[[], bool] = lambda: True,
        by: int | None = None,
        peer: encoding.Peer = encoding.PICKLES,
    ) -> "asyncio.Task[Outcome | None]":
        instance = None if by is None else Instance(f"i{by}", Payload.of(payload.encode(((by,), {}))))
        method = None if by is None else "add"
        call = Call(self.id, Payload.of(peer.encode((args, {}))), method, instance)
        member = Member(Execution(call, {}, self.artifacts, self.instances), begin)
        self.members.append(member)
        return asyncio.ensure_future(self.batches.run(self.limits, self.at_once, member))


def play(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def value(outcome: Outcome | None) -> Any:
    assert outcome is not None
    assert outcome.error is None, outcome.error
    return encoding.decode(outcome.value, encoding.ON_WORKERS)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_a_full_batch_goes_and_the_next_one_forms() -> None:
    async def main() -> None:
        scene = Scene(double, at_once=2)
        calls = [scene.call(x) for x in range(6)]
        assert [value(await call) for call in calls] == [0, 2, 4, 6, 8, 10]
        assert sorted(STARTED) == [[0, 1, 2], [3, 4, 5]]
        assert scene.batches._batches == {}

    play(main)


def test_what_is_there_goes_when_the_time_of_the_first_is_over() -> None:
    async def main() -> None:
        scene = Scene(double, Batch(3, 20))
        assert [value(each) for each in await asyncio.gather(scene.call(1), scene.call(2))] == [2, 4]
        assert STARTED == [[1, 2]]

    play(main)


def test_what_waits_for_its_turn_takes_more_calls() -> None:
    async def main() -> None:
        scene = Scene(hold, AT_ONCE)
        first = scene.call(1)
        await until(lambda: STARTED)
        later = [scene.call(x) for x in (2, 3)]
        await asyncio.sleep(0.02)  # due at once, and no turn is free
        later.append(scene.call(4))
        GATE.set()
        assert value(await first) == 1
        assert [value(await each) for each in later] == [2, 3, 4]
        assert STARTED == [[1], [2, 3, 4]]

    play(main)


def test_a_worker_that_can_take_no_more_waits_for_nobody() -> None:
    async def main() -> None:
        scene = Scene(Adder)
        calls = [scene.call(1, by=10), scene.call(2, by=20), scene.call(3, by=10)]  # three are all that it takes
        assert [value(await call) for call in calls] == [11, 22, 13]
        assert sorted(STARTED) == [[1, 3], [2]]

    play(main)


def test_each_call_of_a_batch_is_answered_in_its_own_encoding() -> None:
    async def main() -> None:
        scene, other = Scene(refuse_odd), encoding.Peer("3.12")
        calls = [scene.call(1), scene.call(2, peer=other), scene.call(3, peer=other)]
        pickled, good, bad = [await call for call in calls]
        assert STARTED == [[1, 2, 3]]
        assert value(good) == 2
        for outcome, is_neutral in ((pickled, False), (bad, True)):
            assert outcome is not None
            assert outcome.error is not None
            assert outcome.error.exception is not None
            assert neutral.is_neutral(outcome.error.exception) is is_neutral
            assert isinstance(encoding.decode(outcome.error.exception, encoding.ON_WORKERS), ValueError)
        assert good is not None
        assert neutral.is_neutral(good.value)

    play(main)


def test_several_parameters_and_a_call_that_differs() -> None:
    async def main() -> None:
        scene = Scene(pair)
        calls = [scene.call(1, 2), scene.call(3, 4), scene.call(5, 6)]
        assert [value(await call) for call in calls] == [(1, 2), (3, 4), (5, 6)]
        odd = [scene.call(1, 2), scene.call(3), scene.call(5, 6)]
        for call in odd:
            outcome = await call
            assert outcome is not None
            assert outcome.error is not None  # nobody waits for ever

    play(main)


def test_a_constructor_that_raises_fails_all() -> None:
    async def main() -> None:
        scene = Scene(Adder)
        for call in [scene.call(x, by=-1) for x in range(3)]:
            outcome = await call
            assert outcome is not None
            assert outcome.error is not None
            assert (outcome.error.kind, outcome.error.type) == (ErrorKind.USER, "ValueError")
            assert outcome.error.bases == ("Exception", "BaseException")

    play(main)


def test_a_call_that_shall_not_begin_is_left_out() -> None:
    async def main() -> None:
        scene = Scene(double)
        calls = [scene.call(1), scene.call(2, begin=lambda: False), scene.call(3)]
        assert await calls[1] is None
        assert [value(await calls[0]), value(await calls[2])] == [2, 6]
        assert STARTED == [[1, 3]]

    play(main)


@pytest.mark.parametrize("target", [spin, sleep])
def test_who_leaves_is_answered_at_once_and_the_last_one_stops_the_function(target: Any) -> None:
    async def main() -> None:
        scene = Scene(target)
        calls = [scene.call(x) for x in (1, 2, 3)]
        await until(lambda: STARTED)
        scene.batches.leave(scene.members[0])
        gone = await calls[0]
        assert gone is not None
        assert gone.error is not None
        calls[1].cancel()  # the inline platform's way
        await asyncio.wait([calls[1]])
        assert not STOPPED.is_set()
        scene.batches.leave(scene.members[2])
        await until(STOPPED.is_set)
        GATE.set()
        again = [scene.call(x) for x in (4, 5, 6)]
        assert [value(await each) for each in again] == [4, 5, 6]  # the interrupt hit nothing else

    play(main)


def test_who_leaves_before_it_begins_makes_room() -> None:
    async def main() -> None:
        scene = Scene(double)
        calls = [scene.call(x) for x in (1, 2)]
        await asyncio.sleep(0)
        scene.batches.leave(scene.members[0])
        assert await calls[0] is not None
        calls += [scene.call(x) for x in (3, 4)]
        assert [value(await each) for each in calls[1:]] == [4, 6, 8]
        assert STARTED == [[2, 3, 4]]

    play(main)
