"""The published verbs, against a scripted platform over real HTTP."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from runpod_flash.backends.clients import Address
from runpod_flash.backends.http import HttpBackend
from runpod_flash.backends.job_api import balanced_url
from runpod_flash.calls import AS_USUAL, JobOptions
from runpod_flash.errors import (
    AuthError,
    BackendError,
    BackendUnavailable,
    ConfigError,
    EndpointNotFound,
    JobNotFound,
)
from runpod_flash.output import Output
from runpod_flash.web import request
from tests.support.fake_platform import KEY, FakePlatform, problem, serving

MANY = 300
OPTIONS = JobOptions(timeout_ms=9000, low_priority=True, webhook="https://hook", s3_config={"accessId": "a"})


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


@asynccontextmanager
async def backend_at(url: str, key: str = KEY) -> AsyncIterator[HttpBackend]:
    async def locate() -> Address:
        return Address(url, key, "the fake", "no hint")

    backend = HttpBackend(locate, Output(), shares_machine=True, default_queue_delay=0.0)
    async with asyncio.timeout(60):
        try:
            await backend.open()
            yield backend
        finally:
            await backend.aclose()


def run(platform: FakePlatform, test: Callable[[HttpBackend], Awaitable[None]]) -> None:
    async def main(url: str) -> None:
        async with backend_at(url) as backend:
            await test(backend)

    with serving(platform) as url:
        asyncio.run(main(url))


@pytest.mark.slow
@pytest.mark.parametrize("modern", [True, False], ids=["ours", "published"])
def test_hundreds_of_held_requests_are_in_flight_at_a_time(platform: FakePlatform, modern: bool) -> None:
    platform.modern, platform.together = modern, MANY

    async def test(backend: HttpBackend) -> None:
        asked = [backend.request("ep", request("POST", "/x", {"n": n})) for n in range(MANY)]
        assert [answer.status for answer in await asyncio.gather(*asked)] == [200] * MANY
        jobs = [backend.run_sync("ep", {"n": n}, f"key{n}", AS_USUAL, 60) for n in range(MANY)]
        outputs = [job["output"] for job in await asyncio.gather(*jobs)]
        assert outputs == [{"n": n} for n in range(MANY)]

    run(platform, test)


def test_short_requests_pass_those_that_are_held(platform: FakePlatform) -> None:
    platform.together = MANY + 1

    async def test(backend: HttpBackend) -> None:
        held = [asyncio.create_task(backend.request("ep", request("GET", "/x"))) for _ in range(MANY)]
        while sum(path.startswith("/lb/") for path in platform.paths) < MANY:
            await asyncio.sleep(0.01)
        assert await backend.health("ep") == {"jobs": {"inQueue": 1}, "workers": {"idle": 2}}
        assert await backend.submit("ep", {"a": 1}, "key") == "job-0"
        assert not any(task.done() for task in held)
        await backend.request("ep", request("GET", "/x"))
        await asyncio.gather(*held)

    run(platform, test)


def test_a_sync_run(platform: FakePlatform) -> None:
    async def test(backend: HttpBackend) -> None:
        job = await backend.run_sync("ep", {"a": 1}, "key", OPTIONS, 2.5)
        assert job == {"id": "job-0", "status": "COMPLETED", "output": {"a": 1}}
        await backend.run_sync("ep", {"a": 1}, "key", AS_USUAL, 1000)

    run(platform, test)
    policy = {"executionTimeout": 9000, "lowPriority": True}
    assert platform.bodies == [
        {"input": {"a": 1}, "policy": policy, "webhook": "https://hook", "s3Config": {"accessId": "a"}},
        {"input": {"a": 1}},
    ]
    assert platform.queries == ["wait=2500", "wait=300000"]


def test_chunks_come_in_order_until_the_job_has_ended(platform: FakePlatform) -> None:
    platform.jobs["j"] = {"id": "j", "status": "COMPLETED"}
    platform.chunks["j"] = [[1, {"a": 2}], [], [None, "x"], [3]]

    async def test(backend: HttpBackend) -> None:
        assert [chunk async for chunk in backend.chunks("ep", "j")] == [1, {"a": 2}, None, "x", 3]
        with pytest.raises(JobNotFound):
            await anext(backend.chunks("ep", "unknown"))

    run(platform, test)


def test_a_stream_that_breaks_is_told_where_chunks_may_be_lost(platform: FakePlatform) -> None:
    platform.modern = False  # ours says what has arrived, and loses none
    platform.jobs["j"] = {"id": "j", "status": "COMPLETED"}

    class Breaks(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
            await send({"type": "http.response.body", "body": b"{", "more_body": True})
            raise ConnectionError

    platform.refuse = lambda request: Breaks() if "/stream/" in request.url.path else None

    async def test(backend: HttpBackend) -> None:
        with pytest.raises(BackendUnavailable):
            await anext(backend.chunks("ep", "j"))

    run(platform, test)
    assert platform.requests["GET j"] == 1


def test_a_retried_job_is_waited_for_anew(platform: FakePlatform) -> None:
    """What was heard of its first end, and nobody had asked for, is no answer any more."""
    platform.ends_at_once = False

    async def test(backend: HttpBackend) -> None:
        job = await backend.submit("ep", {"a": 1}, "key")
        platform.finish(job, None, "FAILED")
        while not backend._final_jobs._arrived:
            await asyncio.sleep(0.01)
        assert await backend.retry("ep", job) == {"id": job, "status": "IN_QUEUE"}
        waiting = asyncio.create_task(backend.outcome("ep", job))
        while platform.requests["POST watch"] == 0:
            await asyncio.sleep(0.01)
        platform.finish(job, "second")
        assert (await waiting)["output"] == "second"
        with pytest.raises(ConfigError, match="failed or timed out"):
            await backend.retry("ep", job)

    run(platform, test)


def test_small_verbs(platform: FakePlatform) -> None:
    platform.endpoints["ep0"] = {"id": "ep0", "name": "x"}

    async def test(backend: HttpBackend) -> None:
        assert await backend.purge("ep") == 3
        assert await backend.describe("ep0") == {"id": "ep0", "name": "x"}
        with pytest.raises(EndpointNotFound):
            await backend.describe("unknown")

    run(platform, test)


def test_a_request_goes_as_it_is_asked_for(platform: FakePlatform) -> None:
    seen: list[tuple[Any, ...]] = []

    def answer(asked: Request, body: bytes) -> Response:
        seen.append((asked.method, asked.scope["raw_path"], asked.url.query, body, asked.headers["content-type"]))
        return PlainTextResponse("fine", 201, {"X-Some": "thing"})

    platform.answer = answer

    async def test(backend: HttpBackend) -> None:
        asked = request("PATCH", "/a b/%2F?x=1", b"body", params={"y": "&"}, headers={"Content-Type": "image/png"})
        found = await backend.request("e p", asked)
        assert (found.status, found.value(), found.headers["x-some"]) == (201, "fine", "thing")

    run(platform, test)
    assert seen == [("PATCH", b"/lb/e%20p/a%20b/%2F", "x=1&y=%26", b"body", "image/png")]


@pytest.mark.parametrize(
    ("status", "error"), [(401, AuthError), (404, EndpointNotFound), (403, AuthError), (503, BackendError)]
)
def test_a_refusal_of_the_platform_is_an_error_and_one_of_a_worker_an_answer(
    platform: FakePlatform, status: int, error: type[Exception]
) -> None:
    answers = [problem(status, "the platform says no"), PlainTextResponse("mine", status, {"X-Runpod-Worker-Id": "w"})]
    platform.answer = lambda asked, body: answers.pop(0)

    async def test(backend: HttpBackend) -> None:
        with pytest.raises(error, match="the platform says no"):
            await backend.request("ep", request("GET", "/x"))
        answer = await backend.request("ep", request("GET", "/x"))
        assert (answer.status, answer.value()) == (status, "mine")

    run(platform, test)


@pytest.mark.parametrize(("method", "times"), [("GET", 2), ("POST", 1)])
def test_what_was_sent_is_sent_again_only_where_that_does_no_harm(
    platform: FakePlatform, method: str, times: int
) -> None:
    class Breaks(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            raise ConnectionError

    def answer(asked: Request, body: bytes) -> Response:
        return Breaks() if platform.requests[f"{method} x"] == 1 else PlainTextResponse("fine")

    platform.answer = answer

    async def test(backend: HttpBackend) -> None:
        asking = backend.request("ep", request(method, "/x"))
        if times == 1:
            with pytest.raises(BackendUnavailable):
                await asking
        else:
            assert (await asking).value() == "fine"

    run(platform, test)
    assert platform.requests[f"{method} x"] == times


@pytest.mark.parametrize(
    ("platform_url", "by_path", "expected"),
    [
        ("https://api.runpod.ai", False, "https://abc.api.runpod.ai"),
        ("http://api.lab.example:8000", False, "http://abc.api.lab.example:8000"),
        ("http://api.lab.example:8000", True, "http://api.lab.example:8000/lb/abc"),
        ("http://127.0.0.1:9", False, "http://127.0.0.1:9/lb/abc"),
        ("http://flash", True, "http://flash/lb/abc"),
    ],
)
def test_where_requests_go(platform_url: str, by_path: bool, expected: str) -> None:
    assert balanced_url(platform_url, "abc", by_path=by_path) == expected
