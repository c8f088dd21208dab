"""Calls in frames as the client sees them: what goes out together, what comes back, and a way that is lost."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from runpod_flash.backends import conversation as conversation_module
from runpod_flash.backends.conversation import Conversation
from runpod_flash.backends.events import FinalJobs
from runpod_flash.backends.waiting import Kind, Waiting, frames_of
from runpod_flash.calls import Ticket
from runpod_flash.errors import BackendUnavailable, EndpointNotFound, FlashError, JobNotFound
from runpod_flash.output import Output
from worker_runtime.wire import frames
from worker_runtime.wire.calls import Pattern, Submit, SubmitReader
from worker_runtime.wire.jobs import Call, Payload

EMPTY = Payload.inlined(b"")


@dataclass
class Way:
    """Keeps what is sent: submits as the platform reads them, and the headers of other frames."""

    submits: list[Submit] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)

    def submit(self, kind: Kind, some: Sequence[Waiting], *, fresh: bool) -> None:
        reader = SubmitReader()
        data = b"".join(frames_of(kind, some, fresh=fresh))
        self.submits += [reader.read(*frame) for frame in frames.Splitter().feed(data)]

    def tell(self, header: dict[str, Any]) -> None:
        self.told.append(header)

    @property
    def keys(self) -> list[str]:
        return [key for each in self.submits for key, _ in each.jobs]


@dataclass
class Book:
    """Notes, as they come."""

    lines: list[tuple[str, Any]] = field(default_factory=list)

    def leaving(self, keys: Sequence[str]) -> None:
        self.lines.append(("leaving", list(keys)))

    def accepted(self, jobs: Iterable[tuple[str, str]]) -> None:
        self.lines.append(("accepted", list(jobs)))

    __hash__ = object.__hash__


class Scene:
    """A conversation with a way that answers nothing by itself."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.others, self.book, self.readied = FinalJobs(), Book(), 0
        self.failure: FlashError | None = None
        self.talk = Conversation(self.ready, self.refusal, self.events.append, self.others, Output(progress=False))
        self.way = Way()
        self.talk.up(self.way)
        self.kind = self.new_kind()

    def new_kind(self, endpoint: str = "e") -> Kind:
        return Kind(Pattern(endpoint, Call("a", EMPTY), {}), "name", self.book, self.talk)

    async def ready(self) -> None:
        self.readied += 1
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        self.way = Way()
        self.talk.up(self.way)

    def refusal(self, problem: Any) -> FlashError:
        return EndpointNotFound(problem["detail"])

    def call(self, data: bytes = b"x", **how: Any) -> Waiting:
        return self.talk.submit(how.pop("kind", self.kind), Payload.inlined(data), **how)

    def ended(self, *calls: tuple[str, str, bytes]) -> None:
        jobs = [[key, job, len(value), "w", 0, 1, 2] for key, job, value in calls]
        self.talk.take({"type": "ended", "jobs": jobs}, b"".join(value for _, _, value in calls))

    def accepted(self, *jobs: tuple[str, str]) -> None:
        self.talk.take({"type": "accepted", "jobs": [list(each) for each in jobs]}, b"")


def played(test: Callable[[Scene], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        async def main() -> None:
            scene = Scene()
            await asyncio.wait_for(test(scene), 10)
            scene.talk.close()

        asyncio.run(main())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@played
async def test_calls_of_one_turn_go_together_and_are_noted_at_once_before_they_leave(it: Scene) -> None:
    first = it.call(b"first")
    assert it.way.keys == [first.key], "one that is alone does not wait"
    calls = [it.call(bytes([number])) for number in range(50)]
    assert [len(each.jobs) for each in it.way.submits] == [1, 8, 32], "workers can begin while more are made"
    await turns(1)
    assert [len(each.jobs) for each in it.way.submits] == [1, 8, 32, 10]
    assert it.way.submits[2].jobs[7] == (calls[15].key, Payload.inlined(b"\17"))
    assert all(each.fresh and each.later for each in it.way.submits)
    assert it.book.lines == [("leaving", [key for key, _ in each.jobs]) for each in it.way.submits]
    assert it.way.keys == [first.key, *(call.key for call in calls)]
    it.ended(*((key, f"j{key}", b"v") for key in it.way.keys))
    again = [it.call() for _ in range(10)]
    await turns(1)
    assert [len(each.jobs) for each in it.way.submits[4:]] == [1, 8, 1]
    assert it.way.keys[51:] == [call.key for call in again]


@played
async def test_what_has_nothing_in_common_goes_in_frames_of_its_own(it: Scene) -> None:
    it.call()
    other = it.new_kind("other")
    for number in range(6):
        it.call(kind=other if number % 2 else it.kind)
    await turns(1)
    assert [(each.endpoint, len(each.jobs)) for each in it.way.submits[1:]] == [("e", 3), ("other", 3)]


@played
async def test_values_find_their_calls_and_ids_are_noted(it: Scene) -> None:
    tickets: list[Ticket] = []
    one, two = it.call(tickets=tickets), it.call()
    await turns(1)
    it.ended((two.key, "j2", b"two"), (one.key, "j1", b""))
    assert (await one, await two) == (b"", b"two")
    assert two.facts[1:4] == ["j2", 3, "w"]
    assert tickets == [Ticket("j1", "e", "name")]
    assert it.book.lines[-1] == ("accepted", [(two.key, "j2"), (one.key, "j1")])
    assert (it.kind.waiting, it.talk._calls) == (0, {})


@played
async def test_a_value_that_is_elsewhere_is_told_as_where(it: Scene) -> None:
    one, large, two, alone = it.call(), it.call(), it.call(), it.call(submits_only=True)
    it.accepted((alone.key, "j4"))
    payload = Payload(sha256="a" * 64, size=10**6)
    places = [
        (one.key, "j1", 3),
        (large.key, "j2", payload.to_json()),
        (two.key, "j3", 3),
        (alone.key, "j4", payload.to_json()),
    ]
    it.talk.take({"type": "ended", "jobs": [[*place, "w", 0, 1, 2] for place in places]}, b"onetwo")
    assert [await call for call in (one, large, two)] == [b"one", payload, b"two"]
    assert large.facts[1] == "j2"
    with it.others.follow("j4") as follower:
        job = await follower.end(0)
    assert job is not None
    assert job["output"] == {"flash": {"value": payload.to_json()}}


@played
async def test_an_end_without_a_value_is_the_job(it: Scene) -> None:
    call = it.call()
    job = {"id": "j", "status": "FAILED"}
    it.talk.take({"type": "events", "events": [{"event": "log"}, {"event": "job", "job": job, "key": call.key}]}, b"")
    assert await call == job
    assert call.ticket.job_id == "j"
    assert it.events == [{"event": "log"}]


@played
async def test_who_only_submits_has_it_when_it_is_accepted_and_its_end_is_kept_for_later(it: Scene) -> None:
    call = it.call(submits_only=True)
    assert not it.way.submits[0].later, "its acceptance is waited for"
    it.accepted((call.key, "j"))
    assert await call is None
    assert call.ticket == Ticket("j", "e", "name")
    assert it.others.covers("j")
    it.ended((call.key, "j", b"value"))
    with it.others.follow("j") as follower:
        job = await follower.end(0)
    assert job is not None
    assert (job["id"], job["status"], job["workerId"]) == ("j", "COMPLETED", "w")
    assert job["output"] == {"flash": {"value": {"inline": "dmFsdWU="}}}


@played
async def test_a_refused_call_fails_and_the_others_go_on(it: Scene) -> None:
    good, bad = it.call(), it.call()
    problem = {"status": 404, "detail": "gone"}
    it.talk.take({"type": "refused", "keys": [bad.key, "of nobody"], "problem": problem}, b"")
    with pytest.raises(EndpointNotFound, match="gone"):
        await bad
    it.ended((good.key, "j", b"v"))
    assert await good == b"v"


@played
async def test_a_busy_platform_gets_the_call_again_when_it_says(it: Scene) -> None:
    call = it.call()
    problem = {"status": 429, "detail": "too many"}
    it.talk.take({"type": "refused", "keys": [call.key], "problem": problem, "after": "0"}, b"")
    assert "takes no more requests for now" in it.events[0]["message"]
    while len(it.way.submits) < 2:
        await asyncio.sleep(0.01)
    assert (it.way.submits[1].jobs, it.way.submits[1].fresh) == (it.way.submits[0].jobs, False)
    it.talk.take({"type": "refused", "keys": [call.key], "problem": problem, "after": "9999"}, b"")
    with pytest.raises(EndpointNotFound, match="too many"):
        await call


@played
async def test_a_cancelled_call_is_called_off_when_its_id_is_known(it: Scene) -> None:
    known, unknown = it.call(), it.call()
    await turns(1)
    it.accepted((known.key, "j1"))
    giving = [asyncio.ensure_future(it.talk.give_up(call)) for call in (known, unknown) if call.cancel()]
    await turns()
    assert it.way.told == [{"type": "cancel", "jobs": ["j1"]}]
    it.accepted((unknown.key, "j2"))
    await turns(1)
    assert it.way.told[1:] == [{"type": "cancel", "jobs": ["j2"]}]
    assert not any(each.done() for each in giving)
    job = {"status": "CANCELLED"}
    for call, name in ((known, "j1"), (unknown, "j2")):
        event = {"event": "job", "job": {"id": name, **job}, "key": call.key}
        it.talk.take({"type": "events", "events": [event]}, b"")
    await asyncio.gather(*giving)
    await it.talk.quiet()


@played
async def test_a_call_that_is_cancelled_before_it_leaves_never_does(it: Scene) -> None:
    it.call()
    call = it.call()
    call.cancel()
    await it.talk.give_up(call)
    assert call.key not in it.way.keys


@played
async def test_a_lost_way_is_made_again_and_each_call_goes_on(it: Scene) -> None:
    waiting, accepted = it.call(b"w"), it.call(b"a")
    await turns(1)
    it.accepted((accepted.key, "j"))
    old = it.way
    it.talk.down()
    late = it.call(b"l")
    await turns(6)
    assert (it.readied, it.way is old) == (1, False)
    assert sorted(it.way.keys) == sorted([waiting.key, late.key]), "what was accepted is not submitted again"
    assert not any(each.fresh for each in it.way.submits)
    assert it.way.told == [{"type": "watch", "jobs": ["j"]}]
    it.ended((waiting.key, "j1", b"1"), (accepted.key, "j", b"2"), (late.key, "j3", b"3"))
    assert await asyncio.gather(waiting, accepted, late) == [b"1", b"2", b"3"]


@played
async def test_a_job_that_the_platform_does_not_know_any_more_is_an_error(it: Scene) -> None:
    call = it.call()
    it.accepted((call.key, "j"))
    it.talk.take({"type": "unknown", "jobs": ["j"]}, b"")
    with pytest.raises(JobNotFound, match="no job j"):
        await call


@played
async def test_calls_fail_where_there_can_be_no_way(it: Scene) -> None:
    it.talk.down()
    it.failure = BackendUnavailable("not there")
    with pytest.raises(BackendUnavailable, match="not there"):
        await it.call()


@played
async def test_calls_fail_where_the_platform_speaks_no_frames_any_more(it: Scene) -> None:
    async def ready() -> None:
        await asyncio.sleep(0)

    call = it.call()
    it.talk._ready = ready
    it.talk.down()
    with pytest.raises(BackendUnavailable, match="takes no calls in frames any more"):
        await call


@played
async def test_after_the_end_of_the_connection_calls_fail_at_once(it: Scene) -> None:
    call = it.call()
    it.talk.close()
    for each in (call, it.call()):
        with pytest.raises(BackendUnavailable, match="closed"):
            await each


def test_calls_whose_end_others_may_have_been_told_are_watched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation_module, "_LOOK_S", 0.01)
    monkeypatch.setattr(conversation_module, "_ASK_AGAIN_S", 0.03)

    @played
    async def watched(it: Scene) -> None:
        call = it.call()
        it.accepted((call.key, "j"))
        while not it.way.told:
            await asyncio.sleep(0.01)
        assert it.way.told[0] == {"type": "watch", "jobs": ["j"]}
        it.ended((call.key, "j", b"v"))
        assert await call == b"v"

    watched()


@played
async def test_frames_of_the_future_are_left_alone(it: Scene) -> None:
    call = it.call()
    it.talk.take({"type": "of the future"}, b"body")
    it.ended(("of somebody", "j0", b"0"), (call.key, "j", b"v"))
    assert await call == b"v"
