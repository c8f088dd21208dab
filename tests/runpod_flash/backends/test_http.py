"""The client of a platform, against a scripted one over real HTTP."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.responses import JSONResponse, PlainTextResponse

from runpod_flash.backends import connection, http
from runpod_flash.backends.connection import Address
from runpod_flash.backends.http import HttpBackend
from runpod_flash.backends.lookups import Looked
from runpod_flash.errors import (
    AuthError,
    BackendError,
    BackendUnavailable,
    ConfigError,
    ContentNotFound,
    EndpointNotFound,
    JobNotFound,
    PayloadTooLarge,
    WireMismatch,
)
from runpod_flash.output import Output
from runpod_flash.settings import Settings
from tests.support.fake_platform import KEY, FakePlatform, problem, serving
from tests.support.place import ROOT
from tests.support.waiting import wait_until

PATIENT = 10.0


@pytest.fixture
def socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="f") as folder:
        yield Path(folder) / "s"


@asynccontextmanager
async def backend_at(
    url: str, *, socket: Path | None = None, project: Path | None = None, output: Output | None = None
) -> AsyncIterator[HttpBackend]:
    async def locate() -> Address:
        return Address(url, KEY, "the fake", "no hint", socket=str(socket) if socket else None)

    backend = HttpBackend(locate, output or Output(), shares_machine=True, default_queue_delay=0.0, project=project)
    async with asyncio.timeout(PATIENT):
        try:
            await backend.open()
            yield backend
        finally:
            await backend.aclose()


def run(url: str, test: Callable[[HttpBackend], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with backend_at(url, **options) as backend:
            await test(backend)

    asyncio.run(main())


async def until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_until, condition, PATIENT)


def test_gathered_calls_get_their_own_results(url: str) -> None:
    async def one(backend: HttpBackend, number: int) -> object:
        job = await backend.submit("ep", {"n": number}, f"key-{number}")
        return (await backend.outcome("ep", job))["output"]

    async def test(backend: HttpBackend) -> None:
        assert await asyncio.gather(*(one(backend, n) for n in range(300))) == [{"n": n} for n in range(300)]

    run(url, test)


def test_announced_jobs_are_not_asked_for(url: str, platform: FakePlatform) -> None:
    async def test(backend: HttpBackend) -> None:
        job = await backend.submit("ep", {"n": 1}, "key")
        await until(lambda: backend._final_jobs._arrived)
        assert (await backend.outcome("ep", job))["status"] == "COMPLETED"
        assert not platform.requests["POST watch"]
        assert (await backend.outcome("ep", job))["status"] == "COMPLETED", "asked again, it is looked up"
        assert platform.requests["POST watch"] == 1

    run(url, test)


def test_a_call_survives_a_broken_stream(url: str, platform: FakePlatform) -> None:
    platform.ends_at_once = False

    async def test(backend: HttpBackend) -> None:
        job = await backend.submit("ep", {}, "key")
        outcome = asyncio.create_task(backend.outcome("ep", job))
        await until(lambda: backend._final_jobs._followers)
        platform.break_streams()
        await until(lambda: platform.requests["POST watch"])
        platform.finish(job, "late")
        assert (await outcome)["output"] == "late"

    run(url, test)


def test_thousands_of_calls_that_lost_their_stream_ask_together(url: str, platform: FakePlatform) -> None:
    platform.ends_at_once, platform.fits = False, 500
    count = 2500
    platform.jobs = {f"job-{n}": {"id": f"job-{n}", "status": "IN_QUEUE"} for n in range(count)}

    async def test(backend: HttpBackend) -> None:
        calls = [asyncio.create_task(backend.outcome("ep", f"job-{n}")) for n in range(count)]
        await until(lambda: len(backend._final_jobs._covered) == count)
        assert platform.requests["POST watch"] == 3
        platform.announces = False
        for n in range(1100):
            platform.finish(f"job-{n}", n)
        platform.announces = True
        platform.break_streams()
        await until(lambda: len(backend._final_jobs._covered) == count - 1100)
        for n in range(1100, count):
            platform.finish(f"job-{n}", n)
        assert [job["output"] for job in await asyncio.gather(*calls)] == list(range(count))
        assert platform.requests["POST watch"] <= 9
        assert not [path for path in platform.requests if path.startswith("GET job-")]
        assert backend._final_jobs._followers == {}

    run(url, test)


def test_a_job_of_another_program_is_announced_once_it_was_asked_for(url: str, platform: FakePlatform) -> None:
    platform.jobs["theirs"] = {"id": "theirs", "status": "IN_PROGRESS"}

    async def test(backend: HttpBackend) -> None:
        outcome = asyncio.create_task(backend.outcome("ep", "theirs"))
        await until(lambda: backend._final_jobs.covers("theirs"))
        assert platform.clients["theirs"] == backend._connection.client_id
        platform.finish("theirs", "done")
        assert (await outcome)["output"] == "done"
        assert platform.requests["POST watch"] == 1

    run(url, test)


def test_an_end_that_comes_before_the_answer_is_kept(url: str, platform: FakePlatform) -> None:
    platform.jobs |= {f"job-{n}": {"id": f"job-{n}", "status": "IN_PROGRESS"} for n in range(900)}

    async def test(backend: HttpBackend) -> None:
        ask = backend._lookups._ask

        async def slow(jobs: Sequence[str]) -> Looked:
            looked = await ask(jobs)
            for job in jobs:
                platform.finish(job, job)
            await until(lambda: all(follower._job for each in followers.values() for follower in each))
            return looked

        followers = backend._final_jobs._followers
        backend._lookups._ask = slow
        calls = [backend.outcome("ep", f"job-{n}") for n in range(900)]
        assert [job["output"] for job in await asyncio.gather(*calls)] == [f"job-{n}" for n in range(900)]

    run(url, test)


def test_a_call_survives_a_restart_of_the_platform(socket: Path, platform: FakePlatform) -> None:
    """The new process knows the job from its store but not who to tell: the client finds out by looking."""
    platform.ends_at_once = False

    async def test() -> None:
        with serving(platform, socket) as url:
            backend = await opened_at(url)
            job = await backend.submit("ep", {}, "key")
            outcome = asyncio.create_task(backend.outcome("ep", job))
            await until(lambda: backend._final_jobs._followers)
        platform.announces = False
        platform.finish(job, "meanwhile")
        with serving(platform, socket):
            assert (await outcome)["output"] == "meanwhile"
            assert (await backend.status("ep", job))["status"] == "COMPLETED"
            await backend.aclose()

    async def opened_at(url: str) -> HttpBackend:
        async def locate() -> Address:
            return Address(url, KEY, "the fake", "", socket=str(socket))

        backend = HttpBackend(locate, Output(), shares_machine=True, default_queue_delay=0.0)
        await backend.open()
        return backend

    asyncio.run(test())


def test_a_platform_that_stays_away_fails_calls(
    socket: Path, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RECONNECT_S", 0.3)
    platform.ends_at_once = False

    async def test() -> None:
        with serving(platform, socket) as url:
            async with backend_at(url, socket=socket) as backend:
                job = await backend.submit("ep", {}, "key")
                outcome = asyncio.create_task(backend.outcome("ep", job))
                await until(lambda: backend._final_jobs._followers)
                platform.break_streams()
                platform.refuse = lambda request: problem(503, "going", "BackendUnavailable")
                with pytest.raises(BackendUnavailable):
                    await outcome
                with pytest.raises(BackendUnavailable):
                    await backend.submit("ep", {}, "key-2")
                platform.refuse = lambda request: None
                platform.ends_at_once = True
                again = await backend.submit("ep", {"back": True}, "key-3")
                assert (await backend.outcome("ep", again))["output"] == {"back": True}

    asyncio.run(test())


def test_a_lost_job_is_not_waited_for(url: str, platform: FakePlatform) -> None:
    platform.ends_at_once = False

    async def test(backend: HttpBackend) -> None:
        job = await backend.submit("ep", {}, "key")
        outcome = asyncio.create_task(backend.outcome("ep", job))
        await until(lambda: backend._final_jobs._followers)
        platform.jobs.clear()
        platform.break_streams()
        with pytest.raises(JobNotFound):
            await outcome

    run(url, test)


def test_nobody_waiting_nothing_is_started_again(url: str, platform: FakePlatform) -> None:
    """An open notebook must not bring back a control plane that its user has just stopped."""

    async def test(backend: HttpBackend) -> None:
        platform.break_streams()
        await until(lambda: not backend._connection.is_up)
        seen = platform.requests["GET capabilities"]
        await asyncio.sleep(0.3)
        assert platform.requests["GET capabilities"] == seen
        assert await backend.find("x") is None
        assert platform.requests["GET capabilities"] == seen + 1

    run(url, test)


def test_without_our_interface_jobs_are_asked_for(url: str, platform: FakePlatform) -> None:
    platform.modern = platform.ends_at_once = False
    stages: list[object] = []

    class Watching(Output):
        def stage(self, event: Any) -> None:
            stages.append((event["name"], event["stage"]))

    async def test(backend: HttpBackend) -> None:
        assert not backend.takes_uploads
        job = await backend.submit("ep", {}, "key")
        outcome = asyncio.create_task(backend.outcome("ep", job))
        await until(lambda: platform.requests[f"GET {job}"] >= 2)
        platform.jobs[job]["status"] = "IN_PROGRESS"
        await until(lambda: ("ep", "running") in stages)
        assert stages[0] == ("ep", "queued")
        platform.announces = False
        platform.finish(job)
        assert (await outcome)["output"] == "value"
        assert await backend.logs("ep", job) == []
        assert await backend.find_submitted(["key"]) is None
        with pytest.raises(BackendError, match=r"knows jobs by their endpoints only.*job\('job-0'\)"):
            await backend.facts(job)
        assert "x-flash-client" not in platform.headers[-1]
        await backend.drop_instance("known")
        with pytest.raises(PayloadTooLarge, match=r"has 11\d{6} bytes as it travels, and the fake takes 10485760"):
            await backend.submit("ep", {"flash": {"arguments": {"inline": "A" * 11_000_000}}}, "key-2")
        assert [path for path in platform.paths if path.startswith("/flash/")] == ["/flash/v1/capabilities"]

    run(url, test, output=Watching())


def test_a_job_whose_end_was_not_announced_is_found_all_the_same(
    url: str, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_ASK_AGAIN_S", 0.1)
    platform.announces = False

    async def test(backend: HttpBackend) -> None:
        job = await backend.submit("ep", {"n": 1}, "key")
        assert (await backend.outcome("ep", job))["output"] == {"n": 1}

    run(url, test)


def test_calls_that_began_at_different_times_look_together(
    url: str, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_ASK_AGAIN_S", 1.0)
    platform.announces = False

    async def test(backend: HttpBackend) -> None:
        calls = []
        for number in range(40):
            job = await backend.submit("ep", {"n": number}, f"key-{number}")
            calls.append(asyncio.create_task(backend.outcome("ep", job)))
        assert [job["output"] for job in await asyncio.gather(*calls)] == [{"n": number} for number in range(40)]
        assert platform.requests["POST watch"] < 5

    run(url, test)


def test_endpoints(url: str, platform: FakePlatform) -> None:
    async def test(backend: HttpBackend) -> None:
        assert await backend.find("infer") is None
        made = await backend.create({"name": "infer", "timeout": 1})
        assert await backend.find("infer") == made
        assert (await backend.update(made["id"], {"timeout": 2}))["timeout"] == 2
        assert platform.headers[-1]["x-flash-project"] == "/home/m%C3%BCller/my project"
        with pytest.raises(EndpointNotFound):
            await backend.update("other", {"timeout": 2})
        platform.refuse = lambda request: problem(422, "wrong body", errors=["$: additional properties 'x'"])
        with pytest.raises(ConfigError, match="additional properties"):
            await backend.create({"x": 1})

    run(url, test, project=Path("/home/müller/my project"))


def test_values_and_artifacts(url: str, platform: FakePlatform) -> None:
    value = os.urandom(5_000_000)
    sha256 = hashlib.sha256(value).hexdigest()

    async def test(backend: HttpBackend) -> None:
        with pytest.raises(ContentNotFound):
            await backend.get_value(sha256)
        await backend.put_value(sha256, value)
        await backend.put_value(sha256, value)
        assert platform.requests[f"PUT {sha256}"] == 1
        assert await backend.get_value(sha256) == value
        platform.contents[sha256] = value[:-1]
        with pytest.raises(BackendError, match="damaged"):
            await backend.get_value(sha256)
        assert not await backend.has_artifact("a")
        await backend.put_artifact("a", b"")
        assert await backend.has_artifact("a")
        platform.refuse = lambda request: problem(413, "5 MB; at most 1 MB are taken")
        with pytest.raises(PayloadTooLarge, match="at most 1 MB"):
            await backend.put_artifact("b", value)

    run(url, test)


def test_job_verbs(url: str, platform: FakePlatform) -> None:
    platform.ends_at_once = False

    async def test(backend: HttpBackend) -> None:
        job = await backend.submit("ep", {}, "key")
        assert await backend.submit("ep", {}, "key") == job
        assert platform.clients[job] == backend._connection.client_id
        assert (await backend.status("ep", job))["status"] == "IN_QUEUE"
        await backend.cancel("ep", job)
        assert (await backend.outcome("ep", job))["status"] == "CANCELLED"
        assert await backend.logs("ep", job) == ["one", "two"]
        await backend.drop_instance("known")
        await backend.drop_instance("unknown")
        for verb in (backend.status, backend.cancel, backend.outcome):
            with pytest.raises(JobNotFound):
                await verb("ep", "other")
        platform.refuse = lambda request: problem(422, "artifact x is not here", "ContentNotFound")
        with pytest.raises(ContentNotFound):
            await backend.submit("ep", {}, "key-2")

    run(url, test)


def test_jobs_by_key_and_by_id(url: str, platform: FakePlatform) -> None:
    async def test(backend: HttpBackend) -> None:
        job = await backend.submit("ep", {}, "key-1500")
        found = await backend.find_submitted([f"key-{n}" for n in range(2100)])
        assert found == {"key-1500": {"id": job, "endpoint": "ep", "status": "COMPLETED"}}
        assert platform.requests["POST find"] == 3
        facts = await backend.facts(job)
        assert (facts["job"]["id"], facts["endpoint"]["name"], facts["attempts"]) == (job, "infer", 1)
        with pytest.raises(JobNotFound):
            await backend.facts("other")

    run(url, test)


class Ear(Output):
    """An output that also remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, Any]] = []

    def log(self, event: Any) -> None:
        self.heard.append(("log", event["lines"]))

    def stage(self, event: Any) -> None:
        self.heard.append(("stage", event["cause"]))

    def notice(self, event: Any) -> None:
        self.heard.append(("notice", event["message"]))


def test_events_reach_the_user(url: str, platform: FakePlatform) -> None:
    platform.ends_at_once = False
    ear = Ear()

    async def test(backend: HttpBackend) -> None:
        endpoint = await backend.create({"name": "infer"})
        job = await backend.submit(endpoint["id"], {}, "key")
        about = {"endpoint": endpoint["id"], "name": "infer"}
        outcome = asyncio.create_task(backend.outcome(endpoint["id"], job))
        await until(lambda: backend._final_jobs._followers)
        assert ear._progress.line(time.monotonic() + 1).startswith("infer · running")
        platform.emit({"event": "notice", "key": "k", "name": "infer", "message": "no GPU here"})
        platform.emit(
            {"event": "stage", **about, "stage": "queued", "detail": "", "cause": "no GPU is free", "since": 1}
        )
        platform.emit({"event": "log", "job": job, **about, "stream": "stdout", "lines": ["from the worker"]})
        platform.emit({"event": "beat"})
        platform.emit({"event": "something new"})
        platform.finish(job)
        await outcome
        assert ear.heard == [("notice", "no GPU here"), ("stage", "no GPU is free"), ("log", ["from the worker"])]

    run(url, test, output=ear)


def test_a_malformed_event_does_not_hang_calls(url: str, platform: FakePlatform) -> None:
    platform.ends_at_once = False

    async def test(backend: HttpBackend) -> None:
        job = await backend.submit("ep", {}, "key")
        outcome = asyncio.create_task(backend.outcome("ep", job))
        await until(lambda: backend._final_jobs._followers)
        platform.emit({"event": "job"})
        await until(lambda: platform.requests["POST watch"])
        platform.finish(job)
        assert (await outcome)["output"] == "value"

    run(url, test)


def opened(settings: Settings) -> HttpBackend:
    async def main() -> HttpBackend:
        backend = await http.connect(settings, Path("/p"))
        await backend.find("x")
        await backend.aclose()
        return backend

    return asyncio.run(main())


def test_a_url_target(url: str, platform: FakePlatform) -> None:
    backend = opened(Settings(target=url, api_key=KEY))
    assert (backend.shares_machine, backend.default_queue_delay) == (False, 4.0)
    assert "x-flash-project" not in platform.headers[-1]
    opened(Settings(target=url, api_key=KEY, same_machine=True))  # a worker of a platform where names are global
    assert "x-flash-project" not in platform.headers[-1]
    opened(Settings(target=url, api_key=KEY, same_machine=True, project=Path("/p")))
    assert platform.headers[-1]["x-flash-project"] == "/p"
    for key, source, said in (
        (None, "FLASH_API_KEY", "no key was sent: FLASH_API_KEY is not set"),
        ("wrong", "FLASH_API_KEY", "it was sent the one from FLASH_API_KEY"),
        ("wrong", "/home/targets.json", "it was sent the one from /home/targets.json; set FLASH_API_KEY, or say"),
    ):
        with pytest.raises(AuthError, match=said) as refused:
            opened(Settings(target=url, api_key=key, api_key_from=source))
        assert "wrong" not in str(refused.value).replace("the key is wrong", "")


def test_a_server_that_lists_no_endpoints_is_no_platform(url: str, platform: FakePlatform) -> None:
    async def test(backend: HttpBackend) -> None:
        platform.refuse = lambda request: JSONResponse({"hello": "world"})
        with pytest.raises(BackendError, match=r"the fake lists no endpoints .*is the URL right"):
            await backend.find("x")

    run(url, test)


def test_another_protocol_is_refused(url: str, platform: FakePlatform) -> None:
    platform.protocol = 7
    with pytest.raises(WireMismatch, match=r"protocol 7 \(runpod-flash 9.9.9\).*protocol 1.*upgrade.*this program"):
        opened(Settings(target=url, api_key=KEY))


@pytest.mark.parametrize("target", ["http://", "http://[", "http://host:port"])
def test_what_is_no_url_is_refused(target: str) -> None:
    with pytest.raises(ConfigError, match="FLASH_TARGET"):
        opened(Settings(target=target))


def test_a_port_where_nobody_listens_is_named() -> None:
    start = time.monotonic()
    with pytest.raises(BackendUnavailable, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        opened(Settings(target="http://127.0.0.1:9"))
    assert time.monotonic() - start < 2


def test_another_kind_of_server_is_recognised(url: str, platform: FakePlatform) -> None:
    platform.refuse = lambda request: PlainTextResponse("<html>hello</html>")
    with pytest.raises(BackendError, match="is the URL right"):
        opened(Settings(target=url, api_key=KEY))


@asynccontextmanager
async def forgetful_server() -> AsyncIterator[tuple[str, list[str]]]:
    """A server without our interface that takes each first POST of a path and closes without an answer."""
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length")), 0)
        await reader.readexactly(length)
        request = " ".join(head.split()[:2])
        if request.startswith("POST"):
            seen.append(request)
        if not request.startswith("POST") or seen.count(request) > 1:
            status = "404 No" if "/flash/" in request else "200 OK"
            body = json.dumps({"id": "job", "status": "IN_QUEUE"})
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
            )
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen


def test_only_what_does_no_harm_is_sent_again() -> None:
    async def main() -> None:
        async with forgetful_server() as (url, seen), backend_at(url) as backend:
            assert await backend.submit("ep", {}, "key") == "job"
            assert seen == ["POST /v2/ep/run"] * 2
            with pytest.raises(BackendUnavailable):
                await backend.create({"name": "x"})
            assert seen[2:] == ["POST /v2/serverless"]

    asyncio.run(main())


def test_a_closed_connection_says_so(url: str) -> None:
    async def main() -> None:
        async with backend_at(url) as backend:
            pass
        await backend.aclose()
        with pytest.raises(BackendUnavailable, match="closed"):
            await backend.find("x")

    asyncio.run(main())


PROGRAM = """
import asyncio, sys
from pathlib import Path
from runpod_flash.backends import http
from runpod_flash.settings import Settings

async def main():
    backend = await http.connect(Settings(target=sys.argv[1], api_key=sys.argv[2]), Path("/p"))
    job = await backend.submit("ep", {}, sys.argv[3] + str(number))
    if number == 2:  # the program ends while calls still wait
        waiting = [asyncio.create_task(backend.outcome("ep", job)) for _ in range(3)]
        await asyncio.sleep(0.05)
        return
    assert (await backend.outcome("ep", job))["status"] == "COMPLETED"

for number in range(3):
    asyncio.run(main())
print("end")
"""


def test_a_loop_that_ends_closes_everything(url: str, platform: FakePlatform) -> None:
    platform.after_run = lambda job: setattr(platform, "ends_at_once", len(platform.jobs) < 2)
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, url, KEY, "k"],
        capture_output=True, text=True, timeout=30, cwd=ROOT, check=False,
    )  # fmt: skip
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "end\n", "")
    wait_until(lambda: not platform.streams, 5, "the streams are closed")


async def items_of(backend: HttpBackend, platform: FakePlatform) -> list[Any]:
    """All items of a job's stream."""
    job = await backend.submit("ep", {}, "key")
    return [item async for item in backend.chunks("ep", job)]


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    items=st.lists(st.integers() | st.text(max_size=3) | st.none(), max_size=12),
    fits=st.integers(1, 4),
    broken=st.lists(st.booleans(), max_size=12),
)
def test_every_item_arrives_once_in_its_order_however_often_the_connection_breaks(
    socket: Path, items: list[Any], fits: int, broken: list[bool]
) -> None:
    platform = FakePlatform()
    platform.items, platform.fits, left = list(items), fits, list(broken)
    platform.breaks_off = lambda: bool(left) and left.pop()

    async def main() -> None:
        async with backend_at("http://fake", socket=socket) as backend:
            assert await items_of(backend, platform) == items
            assert platform.arrived == len(items)

    with serving(platform, socket):
        asyncio.run(main())


def test_items_by_the_published_api(socket: Path) -> None:
    """Each is handed out once there: where an answer is cut off, that is said, and nothing is left out silently."""
    platform = FakePlatform()
    platform.modern, platform.items, platform.fits = False, [1, None, {"a": 2}, "x"], 2

    async def main() -> None:
        async with backend_at("http://fake", socket=socket) as backend:
            assert await items_of(backend, platform) == [1, None, {"a": 2}, "x"]
            platform.items, platform.breaks_off = [1], lambda: True
            with pytest.raises(BackendUnavailable):
                await items_of(backend, platform)

    with serving(platform, socket):
        asyncio.run(main())


def test_progress_is_handed_to_the_output(socket: Path) -> None:
    platform, shown = FakePlatform(), list[Any]()

    class Kept(Output):
        def progress(self, event: Any) -> None:
            shown.append(event)

    async def main() -> None:
        async with backend_at("http://fake", socket=socket, output=Kept()):
            event = {"event": "progress", "name": "infer", "job": "j", "done": 1, "total": 2, "message": ""}
            platform.emit(event)
            async with asyncio.timeout(PATIENT):
                while not shown:
                    await asyncio.sleep(0.01)
            assert shown == [event]

    with serving(platform, socket):
        asyncio.run(main())
