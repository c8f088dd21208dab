"""Event streams: who hears what, what is lost by those who do not read, and how streams end."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from runpod_flash.control_plane.events import EventHub
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.views import job_object
from worker_runtime.wire.jobs import JobStatus, Payload


def ended(job_id: str, value: bytes = b"") -> JobRecord:
    """A job that has given a value."""
    output = Payload.inlined(value)
    return JobRecord(job_id, "e", {}, 1.0, JobStatus.COMPLETED, started_at=1.0, finished_at=2.0, output=output)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 5))


async def events(stream: AsyncIterator[bytes]) -> list[dict[str, Any]]:
    """The next portion of a stream; every portion is whole lines."""
    portion = await anext(stream)
    assert portion.endswith(b"\n")
    return [json.loads(line) for line in portion.splitlines()]


def test_a_client_hears_what_is_published_for_it() -> None:
    async def main() -> None:
        hub = EventHub()
        mine, other = hub.stream("a"), hub.stream("b")
        assert await events(mine) == [{"event": "hello", "client": "a", "protocol": 1}]
        assert (await events(other))[0]["client"] == "b"
        hub.ended("a", ended("j"), job_object)
        hub.publish("a", {"event": "log", "lines": ["x\n"]})
        hub.publish("b", {"event": "stage"})
        hub.publish("unknown", {"event": "stage"})
        hub.ended("unknown", ended("j"), job_object)
        assert [event["event"] for event in await events(mine)] == ["job", "log"]
        assert await events(other) == [{"event": "stage"}]
        assert hub.clients == {"a", "b"}
        assert hub.last_left == 0

    run(main())


def test_the_streams_of_one_user_are_ended() -> None:
    async def main() -> None:
        hub = EventHub()
        streams = [hub.stream(name) for name in ("alice/a", "alice/b", "alicex/c", "alice")]
        assert [(await events(stream))[0]["client"] for stream in streams] == ["a", "b", "c", "alice"]
        hub.disconnect("alice/")
        for stream in streams[:2]:
            assert [event async for event in stream] == []
        assert hub.clients == {"alicex/c", "alice"}
        await events(again := hub.stream("alice/a"))
        hub.publish("alice/a", {"event": "stage"})
        assert await events(again) == [{"event": "stage"}]

    run(main())


def test_a_silent_stream_beats() -> None:
    async def main() -> None:
        hub = EventHub(beat_s=0.01)
        stream = hub.stream("a")
        await events(stream)
        for _ in range(2):
            assert await events(stream) == [{"event": "beat"}]
        hub.publish("a", {"event": "stage"})
        assert await events(stream) == [{"event": "stage"}]

    run(main())


def test_who_does_not_read_loses_logs_and_never_jobs() -> None:
    async def main() -> None:
        hub = EventHub(losable_limit=1000)
        stream = hub.stream("a")
        await events(stream)
        for number in range(100):
            hub.publish("a", {"event": "log", "lines": ["x" * 50]})
            hub.ended("a", ended(f"j{number}"), job_object)
        got = await events(stream)
        assert [event["job"]["id"] for event in got if event["event"] == "job"] == [f"j{n}" for n in range(100)]
        logs = [event for event in got if event["event"] == "log"]
        assert 0 < len(logs) < 20
        assert got[-1]["event"] == "notice"
        assert got[-1]["message"].startswith(f"{100 - len(logs)} log messages were left out")
        hub.publish("a", {"event": "log", "lines": []})
        assert await events(stream) == [{"event": "log", "lines": []}]

    run(main())


def test_too_many_unread_jobs_end_the_stream() -> None:
    async def main() -> None:
        hub = EventHub(jobs_limit=1000)
        stream = hub.stream("a")
        await events(stream)
        for _ in range(20):
            hub.ended("a", ended("j", bytes(100)), job_object)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert hub.clients == frozenset()

    run(main())


def test_a_new_stream_of_the_same_client_replaces_the_old_one() -> None:
    async def main() -> None:
        hub = EventHub()
        old, new = hub.stream("a"), hub.stream("a")
        await events(old)
        waiting = asyncio.ensure_future(anext(old))
        await asyncio.sleep(0)
        await events(new)
        with pytest.raises(StopAsyncIteration):
            await waiting
        assert hub.clients == {"a"}
        hub.publish("a", {"event": "stage"})
        assert await events(new) == [{"event": "stage"}]

    run(main())


def test_a_client_that_leaves_is_forgotten() -> None:
    async def main() -> None:
        hub = EventHub()
        stream = hub.stream("a")
        await events(stream)
        before = time.monotonic()
        await stream.aclose()  # type: ignore[attr-defined]
        assert hub.clients == frozenset()
        assert before <= hub.last_left <= time.monotonic()

    run(main())


def test_closing_delivers_what_there_is_and_ends_all_streams() -> None:
    async def main() -> None:
        hub = EventHub()
        busy, silent = hub.stream("a"), hub.stream("b")
        await events(busy)
        await events(silent)
        waiting = asyncio.ensure_future(anext(silent))
        await asyncio.sleep(0)
        hub.publish("a", {"event": "job"})
        hub.close()
        assert await events(busy) == [{"event": "job"}]
        for last in (anext(busy), waiting, anext(hub.stream("late"))):
            with pytest.raises(StopAsyncIteration):
                await last

    run(main())
