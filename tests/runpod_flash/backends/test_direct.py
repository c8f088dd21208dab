"""The client's side of a loan: a worker that the test plays comes to the client's address."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from runpod_flash.backends import direct as direct_module
from runpod_flash.backends.conversation import Conversation
from runpod_flash.backends.events import FinalJobs
from runpod_flash.backends.streak import FIRST
from runpod_flash.backends.waiting import Kind, Waiting, frames_of
from runpod_flash.errors import BackendUnavailable
from runpod_flash.output import Output
from worker_runtime.wire import calls, direct, frames
from worker_runtime.wire.calls import Pattern
from worker_runtime.wire.jobs import Call, Payload

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are lent on Linux alone")

Frame = tuple[dict[str, Any], bytes]


class Way:
    """Keeps what is sent to the control plane."""

    lends = True

    def __init__(self) -> None:
        self.sent: list[Frame] = []

    def submit(self, kind: Kind, some: Any, *, fresh: bool) -> None:
        self.write(frames_of(kind, some, fresh=fresh))

    def write(self, pieces: list[Any]) -> None:
        self.sent += [(header, bytes(body)) for header, body in frames.Splitter().feed(b"".join(pieces))]

    def tell(self, header: dict[str, Any]) -> None:
        self.sent.append((header, b""))

    def of(self, kind: str) -> list[Frame]:
        return [frame for frame in self.sent if frame[0]["type"] == kind]


class Worker:
    """A worker's end of the line."""

    def __init__(self, scene: "Scene") -> None:
        ((self.asked, _),) = scene.way.of(calls.ASK)
        self.splitter, self.heard = frames.Splitter(), list[Frame]()
        scene.workers.append(self)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.setblocking(False)
        self.socket.connect("\0" + self.asked["address"])

    def hello(self, token: str | None = None, **more: Any) -> None:
        self.say({"type": "hello", "loan": "l1", "token": token or self.asked["token"], "worker": "w1", **more})

    def say(self, header: dict[str, Any], body: bytes = b"") -> None:
        self.socket.sendall(b"".join(frames.encode(header, body)))

    async def next(self, kind: str) -> Frame:
        """The next frame, which is of this type. "" as the type: the client has closed the line."""
        while not self.heard:
            data = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
            if not data:
                self.heard.append(({"type": ""}, b""))
            self.heard += [(header, bytes(body)) for header, body in self.splitter.feed(data)]
        frame = self.heard.pop(0)
        assert frame[0]["type"] == kind, frame
        return frame


class Scene:
    """A conversation that may have a worker of its own."""

    def __init__(self) -> None:
        self.others = FinalJobs()
        self.events: list[Any] = []
        self.workers: list[Worker] = []
        talk = Conversation(
            self.ready, self.refusal, self.events.append, self.others, Output(progress=False), directly=True
        )
        self.talk, self.way, self.noted = talk, Way(), list[Any]()
        talk.up(self.way)
        self.kind = self.new_kind()

    def new_kind(self, artifact: str = "a", **options: Any) -> Kind:
        pattern = Pattern("e", Call(artifact, Payload.inlined(b"")), options)
        return Kind(pattern, "name", self, self.talk)  # type: ignore[arg-type]  # see below

    def leaving(self, keys: Any) -> None:
        self.noted += keys

    def accepted(self, jobs: Any) -> None: ...

    async def ready(self) -> None:
        self.way = Way()
        self.talk.up(self.way)

    def refusal(self, problem: Any) -> BackendUnavailable:
        return BackendUnavailable(problem["detail"])

    def call(self, data: bytes | Payload = b"x", kind: Kind | None = None, **how: Any) -> Waiting:
        return self.talk.submit(kind or self.kind, data if isinstance(data, Payload) else Payload.inlined(data), **how)

    def ended(self, waiting: Waiting, value: bytes = b"v") -> None:
        self.talk.take({"type": "ended", "jobs": [[waiting.key, f"j-{waiting.key}", len(value), "w", 0, 1, 2]]}, value)

    async def lone(self, count: int, kind: Kind | None = None) -> None:
        """So many calls, one after the other, by the usual way."""
        for _ in range(count):
            waiting = self.call(kind=kind)
            await asyncio.sleep(0)
            self.ended(waiting)
            await waiting

    async def worker(self) -> Worker:
        """A worker that was asked for, and is there."""
        await self.lone(FIRST)
        worker = Worker(self)
        worker.hello()
        header, _ = await worker.next("welcome")
        assert header["answer"] == worker.asked["answer"]
        return worker


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Scene]:
    scene = Scene()
    try:
        async with asyncio.timeout(10):
            yield scene
    finally:
        scene.talk.close()
        for worker in scene.workers:
            worker.socket.close()
        await asyncio.sleep(0)


def test(body: Callable[[Scene], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test with a scene of its own."""

    async def main() -> None:
        async with opened() as scene:
            await body(scene)

    def run() -> None:
        asyncio.run(main())

    run.__name__, run.__doc__ = body.__name__, body.__doc__
    return run


test.__test__ = False  # type: ignore[attr-defined]


@test
async def test_lone_calls_go_to_the_worker_and_are_noted_before(scene: Scene) -> None:
    worker = await scene.worker()
    before = len(scene.way.sent)
    for number in range(1, 4):
        waiting = scene.call(b"arguments")
        assert waiting.key in scene.noted
        header, body = await worker.next("run")
        assert (header["number"], header["key"], body) == (number, waiting.key, b"arguments")
        worker.say({"type": "done", "number": number}, b"value")
        assert bytes(await waiting) == b"value"
        assert waiting.facts[:5] == (waiting.key, direct.job_of(waiting.key), 5, "w1", 0)
    assert len(scene.way.sent) == before, "the control plane hears of it from the worker"


@test
async def test_who_does_not_know_the_token_gets_no_call(scene: Scene) -> None:
    await scene.lone(FIRST)
    stranger = Worker(scene)
    stranger.hello("guessed")
    await stranger.next("")
    assert not scene.talk.has_worker
    late = scene.call()
    worker = Worker(scene)
    worker.hello()
    await worker.next("welcome")
    assert (await worker.next("run"))[0]["key"] == late.key


@test
async def test_a_call_waits_a_moment_for_the_worker_that_was_asked_for(scene: Scene) -> None:
    await scene.lone(FIRST)
    waiting = scene.call()
    await asyncio.sleep(0)
    assert [key for header, _ in scene.way.of("submit") for key, _ in header["jobs"]].count(waiting.key) == 0
    scene.talk.take({"type": "not_lent"}, b"")
    assert scene.way.of("submit")[-1][0]["jobs"][0][0] == waiting.key
    assert scene.noted.count(waiting.key) == 1
    scene.ended(waiting)
    await scene.lone(FIRST * 2 - 1)
    assert len(scene.way.of(calls.ASK)) == 1, "who was refused asks later the next time"
    await scene.lone(1)
    assert len(scene.way.of(calls.ASK)) == 2
    waiting = scene.call()  # nobody answers
    while len(scene.way.of("submit")[-1][0]["jobs"]) == 0 or scene.way.of("submit")[-1][0]["jobs"][0][0] != waiting.key:
        await asyncio.sleep(0.005)


@test
async def test_what_is_not_alone_or_of_another_kind_or_large_goes_the_usual_way(scene: Scene) -> None:
    worker = await scene.worker()
    first = scene.call()
    second, third = scene.call(), scene.call()
    await asyncio.sleep(0)
    submitted = [key for header, _ in scene.way.of("submit") for key, _ in header["jobs"]]
    assert (first.key in submitted, second.key in submitted, third.key in submitted) == (False, True, True)
    for each in (second, third):
        scene.ended(each)
    worker.say({"type": "done", "number": 1}, b"v")
    await first
    others = [
        scene.call(kind=scene.new_kind("b")),
        scene.call(b"x" * (direct.LIMIT + 1)),
        scene.call(submits_only=True),
        scene.call(kind=scene.new_kind(webhook="http://example.org")),
    ]
    for each in others:
        await asyncio.sleep(0)
        assert each.key in [key for header, _ in scene.way.of("submit") for key, _ in header["jobs"]]
        scene.ended(each)


@test
async def test_a_call_that_takes_long_is_told_once_and_its_end_may_come_either_way(scene: Scene) -> None:
    worker = await scene.worker()
    waiting = scene.call(b"long")
    while not scene.way.of("begun"):
        await asyncio.sleep(direct_module.SOON_S)
    ((header, body),) = scene.way.of("begun")
    assert (header["loan"], header["number"], header["jobs"][0][0], body) == ("l1", 1, waiting.key, b"long")
    scene.talk.take({"type": "accepted", "jobs": [[waiting.key, "j1"]]}, b"")
    await scene.talk.quiet()
    scene.ended(waiting)
    await waiting
    again = scene.call()
    await worker.next("run")
    assert (await worker.next("run"))[0]["number"] == 2
    worker.say({"type": "done", "number": 1}, b"late")
    worker.say({"type": "done", "number": 2}, b"second")
    assert bytes(await again) == b"second"
    assert len(scene.way.of("begun")) == 1


@test
async def test_a_cancelled_call_is_told_at_once(scene: Scene) -> None:
    await scene.worker()
    waiting = scene.call()
    giving_up = asyncio.ensure_future(scene.talk.give_up(waiting))
    await asyncio.sleep(0)
    assert scene.way.of("begun")[0][0]["jobs"][0][0] == waiting.key
    scene.talk.take({"type": "accepted", "jobs": [[waiting.key, "j1"]]}, b"")
    await asyncio.sleep(0)
    assert scene.way.of("cancel")[0][0]["jobs"] == ["j1"]
    scene.talk.take({"type": "events", "events": [{"event": "job", "key": waiting.key, "job": {"id": "j1"}}]}, b"")
    await giving_up


@test
async def test_after_goodbye_only_what_was_not_begun_is_sent_again(scene: Scene) -> None:
    worker = await scene.worker()
    waiting = scene.call(b"unbegun")
    worker.say({"type": "bye", "last": 0})
    while not [header for header, _ in scene.way.of("submit") if header["jobs"][0][0] == waiting.key]:
        await asyncio.sleep(0)
    assert not scene.talk.has_worker
    assert not scene.way.of("begun")
    assert scene.noted.count(waiting.key) == 1


@test
async def test_a_worker_that_is_gone_without_a_word_may_have_begun(scene: Scene) -> None:
    worker = await scene.worker()
    waiting = scene.call()
    worker.socket.close()
    while not scene.way.of("begun"):
        await asyncio.sleep(0)
    assert waiting.key not in [key for header, _ in scene.way.of("submit") for key, _ in header["jobs"]]


@test
async def test_a_control_plane_that_is_lost_hears_of_the_call_from_the_next_connection(scene: Scene) -> None:
    await scene.worker()
    waiting = scene.call()
    scene.talk.down()
    assert not scene.talk.has_worker
    while not scene.way.of("begun"):
        await asyncio.sleep(0)
    assert scene.way.of("begun")[0][0]["jobs"][0][0] == waiting.key
    assert not scene.way.of("submit")


@test
async def test_who_prints_gets_no_worker(scene: Scene) -> None:
    for _ in range(FIRST * 3):
        waiting = scene.call()
        scene.talk.take({"type": "events", "events": [{"event": "log", "lines": ["x"]}]}, b"")
        scene.ended(waiting)
        await waiting
    assert not scene.way.of(calls.ASK)
