"""A client of an endpoint that is there, against a scripted platform over real HTTP."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from runpod_flash import Endpoint
from runpod_flash.errors import (
    CallError,
    ConfigError,
    EndpointNotFound,
    JobNotFound,
    RemoteError,
    ResponseError,
    UnknownOption,
    WaitTimedOut,
)
from runpod_flash.session import Session, use
from runpod_flash.settings import Settings
from tests.support.fake_platform import KEY, FakePlatform, problem, serving
from tests.support.inline import inline_session
from tests.support.waiting import wait_until

EP = Endpoint(id="ep0")


@pytest.fixture(params=[True, False], ids=["ours", "published"])
def platform(request: pytest.FixtureRequest) -> FakePlatform:
    platform = FakePlatform()
    platform.modern = request.param
    platform.endpoints["ep0"] = {"id": "ep0", "name": "infer", "requestUrls": {"run": "http://there/v2/ep0/run"}}
    return platform


@pytest.fixture(autouse=True)
def session(platform: FakePlatform, tmp_path: Path) -> Iterator[Session]:
    with (
        serving(platform) as url,
        use(Session(Settings(target=url, api_key=KEY, home=tmp_path), project=tmp_path)) as session,
    ):
        yield session


def test_run_and_what_becomes_of_it(platform: FakePlatform) -> None:
    async def main() -> None:
        job = await EP.run({"prompt": "hello"}, webhook="https://hook", execution_timeout=6, ttl=60, priority="low")
        assert job.id == "job-0"
        assert await job.wait(timeout=10) is job
        assert (job.output, job.error, job.done) == ({"prompt": "hello"}, None, True)
        assert await job.result() == {"prompt": "hello"}

    asyncio.run(main())
    policy = {"executionTimeout": 6000, "ttl": 60000, "lowPriority": True}
    assert platform.bodies == [{"input": {"prompt": "hello"}, "policy": policy, "webhook": "https://hook"}]


def test_blocking(platform: FakePlatform) -> None:
    job = EP.run({"input": {"a": 1}, "policy": {"ttl": 20000}})
    assert job.result(timeout=10) == {"a": 1}
    assert platform.bodies == [{"input": {"a": 1}, "policy": {"ttl": 20000}}]
    assert EP.run.blocking({"a": 2}).wait().output == {"a": 2}
    assert EP.status(job.id).output == {"a": 1}
    assert EP.runsync({"a": 3}, 5).output == {"a": 3}
    assert EP.health() == {"jobs": {"inQueue": 1}, "workers": {"idle": 2}}
    assert EP.purge() == 3
    assert EP.get.blocking("/x") == {"ok": True}


def test_a_job_that_fails_is_told_by_the_handle_and_raised_by_result(platform: FakePlatform) -> None:
    platform.ends_at_once = False
    job = EP.run({"a": 1})
    platform.finish(job.id, None, "FAILED")
    platform.jobs[job.id]["error"] = '{"error_type": "KeyError", "error_message": "gone"}'
    again = EP.status(job.id)
    assert (again.done, again.output) == (True, None)
    with pytest.raises(RemoteError, match="KeyError: gone"):
        again.result()


def test_cancel(platform: FakePlatform) -> None:
    platform.ends_at_once = False
    job = EP.run({"a": 1})
    assert EP.cancel(job.id).done
    assert platform.jobs[job.id]["status"] == "CANCELLED"
    for verb in (EP.status, EP.cancel):
        with pytest.raises(JobNotFound):
            verb("unknown")
        with pytest.raises(CallError, match="id of a job"):
            verb(3)  # type: ignore[arg-type]


def test_streams(platform: FakePlatform) -> None:
    platform.jobs["j"] = {"id": "j", "status": "COMPLETED", "output": []}
    platform.chunks["j"] = [[1, 2], [3]]
    assert list(EP.stream("j")) == [1, 2, 3]
    platform.chunks["j"] = [[1], [2]]

    async def main() -> list[Any]:
        return [chunk async for chunk in EP.job("j").stream()]

    assert asyncio.run(main()) == [1, 2]


def test_the_items_before_a_failure_come(platform: FakePlatform) -> None:
    platform.jobs["j"] = {"id": "j", "status": "FAILED", "error": '{"error_type": "A", "error_message": "b"}'}
    platform.chunks["j"] = [[1, 2]]
    items = iter(EP.stream("j"))
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(RemoteError, match="A: b"):
        next(items)


def test_a_sync_run_that_takes_too_long_lives_on(platform: FakePlatform) -> None:
    platform.ends_at_once = False
    with pytest.raises(WaitTimedOut, match="job job-0 of endpoint 'ep0' has not ended"):
        EP.runsync({"a": 1}, timeout=1)
    assert platform.jobs["job-0"]["status"] == "IN_QUEUE"
    assert platform.queries == ["wait=1000"]


@pytest.mark.parametrize("timeout", [0.5, None, "5"])
def test_a_sync_run_needs_a_time(platform: FakePlatform, timeout: Any) -> None:
    with pytest.raises(CallError, match="timeout="):
        EP.runsync({"a": 1}, timeout)
    assert platform.bodies == []


@pytest.mark.parametrize("held", [True, False])
def test_a_cancelled_sync_run_cancels_its_job_where_it_can_be_found(platform: FakePlatform, held: bool) -> None:
    """Of a request that is held nobody knows the job but platforms of ours, which know its key."""
    platform.ends_at_once, platform.together = False, 2 if held else 1

    async def main() -> None:
        waiting = asyncio.create_task(EP.runsync.aio({"a": 1}, 300))
        done = platform.requests
        asked = "POST runsync" if held else ("POST watch" if platform.modern else "GET job-0")
        await asyncio.to_thread(wait_until, lambda: platform.jobs and done[asked], 10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    found = not held or platform.modern
    assert platform.jobs["job-0"]["status"] == ("CANCELLED" if found else "IN_QUEUE")


def test_ctrl_c_cancels_the_job_of_a_sync_run(platform: FakePlatform) -> None:
    platform.ends_at_once = False

    def press() -> None:
        wait_until(lambda: platform.queries and platform.requests["GET job-0"] + platform.requests["POST watch"], 20)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        EP.runsync.blocking({"a": 1}, 60)
    thread.join()
    assert platform.jobs["job-0"]["status"] == "CANCELLED"


def test_requests(platform: FakePlatform) -> None:
    seen: list[tuple[str, str, bytes, str | None]] = []

    def answer(request: Any, body: bytes) -> Any:
        seen.append((request.method, str(request.url).partition("/lb/")[2], body, request.headers.get("x-a")))
        return JSONResponse({"n": len(seen)})

    platform.answer = answer

    async def main() -> None:
        assert await EP.get("/v1/models") == {"n": 1}
        assert await EP.post("/v1/completions", {"prompt": "Hello"}, params={"a": 1}) == {"n": 2}
        assert await EP.put("/x", b"raw") == {"n": 3}
        assert await EP.delete("/x", headers={"X-A": "b"}, timeout=5) == {"n": 4}
        assert await EP.patch("/x", json=[1]) == {"n": 5}

    asyncio.run(main())
    assert seen == [
        ("GET", "ep0/v1/models", b"", None),
        ("POST", "ep0/v1/completions?a=1", b'{"prompt":"Hello"}', None),
        ("PUT", "ep0/x", b"raw", None),
        ("DELETE", "ep0/x", b"", "b"),
        ("PATCH", "ep0/x", b"[1]", None),
    ]


def test_an_answer_that_is_not_2xx(platform: FakePlatform) -> None:
    platform.answer = lambda request, body: JSONResponse({"detail": "no such model"}, 422, {"Location": "/y"})
    with pytest.raises(ResponseError, match="POST /x of endpoint 'ep0' was answered with status 422") as caught:
        EP.post.blocking("/x", {"a": 1})
    assert (caught.value.status, caught.value.body) == (422, {"detail": "no such model"})
    assert caught.value.headers["location"] == "/y"
    assert "no such model" in str(caught.value)


def test_a_request_that_has_no_answer_in_time(platform: FakePlatform) -> None:
    platform.together = 2
    with pytest.raises(WaitTimedOut, match=r"GET /x has no answer after 0\.2 s; the request was dropped"):
        EP.get.blocking("/x", timeout=0.2)


def test_an_unknown_id(platform: FakePlatform) -> None:
    platform.refuse = lambda request: (
        problem(404, "there is no endpoint 'nope'") if "nope" in request.url.path else None
    )
    nope = Endpoint(id="nope")
    for ask in (
        lambda: nope.run({"a": 1}),
        lambda: nope.runsync({"a": 1}),
        nope.health,
        nope.purge,
        nope.provision,
        lambda: nope.get.blocking("/x"),
    ):
        with pytest.raises(EndpointNotFound, match="no endpoint 'nope'"):
            ask()


def test_provision_looks_a_client_up(platform: FakePlatform) -> None:
    assert (EP.id, EP.url) == ("ep0", None)
    found = EP.provision()
    assert (found.id, found.url) == ("ep0", "http://there/v2/ep0")
    assert EP.url == "http://there/v2/ep0"


def test_an_endpoint_by_its_name(platform: FakePlatform) -> None:
    named = Endpoint("infer", cpu="cpu3c-1-2")
    assert named.id is None
    assert named.run({"a": 1}).result() == {"a": 1}
    assert (named.id, named.url) == ("ep0", "http://there/v2/ep0")
    assert named.get.blocking("/x") == {"ok": True}
    with pytest.raises(EndpointNotFound, match="no endpoint 'other'"):
        Endpoint("other", cpu="cpu3c-1-2").health()
    with pytest.raises(ConfigError, match="give it a name"):
        Endpoint(cpu="cpu3c-1-2").health()
    assert len(platform.endpoints) == 1


def test_what_a_client_submitted_is_noted(platform: FakePlatform, session: Session) -> None:
    job = EP.run({"a": 1})
    assert session.journal is not None
    if platform.modern:
        platform.refuse = lambda request: None
    noted = asyncio.run(session.noted())
    assert [(each.job_id, each.endpoint, each.endpoint_id) for each in noted] == [(job.id, "ep0", "ep0")]
    assert [each.id for each in EP.recover()] == [job.id]
    sync = EP.runsync({"a": 2})
    assert [each.job_id for each in asyncio.run(session.noted())] == [job.id, sync.id]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gpu": "NVIDIA L4"}, "id= is a client of endpoint 'ep0', which is there already, so gpu= cannot be said"),
        ({"workers": 3, "env": {"A": "b"}}, "workers=, env="),
        ({"idle_timeout": 5}, "idle_timeout="),
        ({"image": "x"}, "id= and image= exclude each other"),
    ],
)
def test_options_that_go_with_no_client(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Endpoint(id="ep0", **options)


@pytest.mark.parametrize("given", ["", "a b", "a/b", 3, "é"])
def test_what_is_no_id(given: Any) -> None:
    with pytest.raises(ConfigError, match="id= is"):
        Endpoint(id=given)


def test_an_id_out_of_a_url() -> None:
    with pytest.raises(ConfigError, match="did you mean 'abc123'"):
        Endpoint(id="https://api.runpod.ai/v2/abc123/run")


def test_an_unknown_keyword() -> None:
    with pytest.raises(UnknownOption, match=r"wrokers=; did you mean workers=\?"):
        Endpoint(id="ep0", wrokers=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        EP.run({"a": 1}, ttll=3)  # type: ignore[call-arg]


def test_a_client_decorates_nothing(platform: FakePlatform) -> None:
    assert EP.is_client
    assert repr(EP) == "Endpoint(id='ep0')"
    with pytest.raises(ConfigError, match=r"Endpoint\(id='ep0'\) is a client .* cannot decorate"):
        EP(test_an_unknown_keyword)
    with pytest.raises(CallError, match=r"@….get\('/x'\) cannot decorate: this endpoint is a client"):
        EP.get("/x")(test_an_unknown_keyword)
    assert sum(platform.requests.values()) == 0


@pytest.mark.parametrize("given", [None, "text", {}, [1], {"a": object()}, {"a": float("nan")}])
def test_an_input_that_is_none(platform: FakePlatform, given: Any) -> None:
    for verb in (EP.run, EP.runsync):
        with pytest.raises(CallError):
            verb(given)
    assert platform.bodies == []


def test_a_label(platform: FakePlatform) -> None:
    platform.answer = lambda request, body: PlainTextResponse("no", 500)
    with pytest.raises(ResponseError, match="of endpoint 'mine'"):
        Endpoint("mine", id="ep0").get.blocking("/x")


def test_the_inline_target_takes_no_plain_input(tmp_path: Path) -> None:
    with inline_session(tmp_path):
        Endpoint("named", cpu="cpu3c-1-2").provision()
        with pytest.raises(ConfigError, match="takes no plain input"):
            Endpoint("named", cpu="cpu3c-1-2").run({"a": 1})
