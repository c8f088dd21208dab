"""The OpenAI route: a request becomes a job, its pieces the response."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from runpod_flash.control_plane.fleet import Worker
from runpod_flash.control_plane.principals import Scope
from tests.support.command_plane import COMMAND, CommandPlane, command_plane, held
from tests.support.plane_app import KEY, client_of, served_app
from tests.support.small_plane import BODY
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind, JobStatus

pytestmark = pytest.mark.anyio

ONE = {"min": 1, "max": 1, "idleTimeout": 60}
CHAT = {"model": "m", "messages": []}
STREAM = {**CHAT, "stream": True}


@pytest.fixture
async def it(tmp_path: Path, anyio_backend: str) -> AsyncIterator[CommandPlane]:
    async with command_plane(tmp_path) as plane:
        yield plane


class Asked:
    """A request under way, and the job that it has become."""

    def __init__(self, it: CommandPlane, worker: Worker, answer: "asyncio.Future[httpx.Response]", job: Any) -> None:
        self.it, self.worker, self.answer, self.job = it, worker, answer, job

    async def yields(self, *pieces: Any) -> None:
        for piece in pieces:
            await self.it.commands.answers.yielded(self.worker, self.job["id"], piece)

    async def ends(self, body: Any = None) -> httpx.Response:
        await self.it.done(self.worker, self.job["id"], {"output": []} if body is None else body)
        return await asyncio.wait_for(self.answer, 5)

    @property
    def status(self) -> JobStatus:
        endpoint = self.worker.pool.key.endpoint
        return self.it.plane.platform.job(endpoint, self.job["id"]).status


async def asked(it: CommandPlane, body: Any, *, method: str = "POST", path: str = "v1/chat/completions") -> Asked:
    endpoint = await it.endpoint(workers=ONE)
    worker = await it.worker()
    request = it.client.request(method, f"/v2/{endpoint}/openai/{path}", json=body)
    answer = asyncio.ensure_future(request)
    (job,) = await it.commands.desk.take(worker, 1, busy=False)
    return Asked(it, worker, answer, job)


# ---- whole


@pytest.mark.parametrize("way", ["yielded", "returned", "returned in a list"])
async def test_one_object(it: CommandPlane, way: str) -> None:
    request = await asked(it, CHAT)
    assert request.job["input"] == {"openai_route": "/v1/chat/completions", "openai_input": CHAT}
    assert request.job["id"].startswith("sync-")
    object_ = {"id": "chatcmpl-1", "choices": []}
    if way == "yielded":
        await request.yields(object_)
    ends = {"yielded": [], "returned": object_, "returned in a list": [object_]}
    answer = await request.ends({"output": ends[way]})
    assert (answer.status_code, answer.json()) == (200, object_)


async def test_a_list_of_models(it: CommandPlane) -> None:
    request = await asked(it, None, method="GET", path="v1/models")
    assert request.job["input"] == {"openai_route": "/v1/models"}
    assert (await request.ends({"output": {"object": "list"}})).json() == {"object": "list"}


@pytest.mark.parametrize(
    ("error", "status"),
    [({"code": 404}, 404), ({"code": "model_not_found"}, 400), ({"message": "x"}, 400), ({"code": 200}, 400)],
)
@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_errors_of_the_worker_keep_their_status(it: CommandPlane, body: Any, error: Any, status: int) -> None:
    request = await asked(it, body)
    await request.yields({"error": error})
    answer = await request.ends()
    assert (answer.status_code, answer.json()) == (status, {"error": error})


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_jobs_that_fail_are_errors_in_the_form_of_openai(it: CommandPlane, body: Any) -> None:
    request = await asked(it, body)
    answer = await request.ends({"error": "out of tokens"})
    assert answer.status_code == 500
    assert answer.json() == {"error": {"message": "out of tokens", "type": "FAILED", "code": None}}


@pytest.mark.parametrize(
    ("kind", "status"), [(ErrorKind.TIMED_OUT, 504), (ErrorKind.CANCELLED, 409), (ErrorKind.PLATFORM, 500)]
)
@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_each_end_has_its_status(it: CommandPlane, body: Any, kind: ErrorKind, status: int) -> None:
    request = await asked(it, body)
    job = it.plane.dispatcher.unfinished(request.job["id"])
    assert job is not None
    it.plane.dispatcher.end(job, ErrorInfo(kind, "Ended", "it ended"))
    answer = await asyncio.wait_for(request.answer, 5)
    assert answer.status_code == status
    assert answer.json()["error"]["message"] == "it ended"


# ---- streams


async def test_a_stream_is_framed_as_events(it: CommandPlane) -> None:
    request = await asked(it, STREAM)
    await request.yields("data: {}\n\n", {"delta": "ä"}, "data: [DONE]\n\n")
    answer = await request.ends()
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == 'data: {}\n\ndata: {"delta": "\\u00e4"}\n\ndata: [DONE]\n\n'
    assert request.status is JobStatus.COMPLETED


async def test_a_failure_in_the_middle_is_the_last_event(it: CommandPlane) -> None:
    request = await asked(it, STREAM)
    await request.yields("data: 1\n\n")
    answer = await request.ends({"error": "out of tokens"})
    first, last = answer.text.strip().split("\n\n")
    assert (answer.status_code, first) == (200, "data: 1")
    assert json.loads(last.removeprefix("data: "))["error"]["message"] == "out of tokens"


async def test_a_stream_of_a_worker_that_does_not_stream_is_one_event(it: CommandPlane) -> None:
    request = await asked(it, STREAM)
    answer = await request.ends({"output": {"id": "chatcmpl-1"}})
    assert answer.text == 'data: {"id": "chatcmpl-1"}\n\n'


# ---- clients that leave, control planes that end


@pytest.mark.parametrize("moment", ["whole", "before the first piece", "in the stream"])
async def test_a_client_that_leaves_cancels_its_job(it: CommandPlane, moment: str) -> None:
    endpoint = await it.endpoint(workers=ONE)
    worker = await it.worker()
    url, body = f"/v2/{endpoint}/openai/v1/completions", CHAT if moment == "whole" else STREAM
    async with served_app(it.app, it.hub) as client:

        async def ask() -> None:
            async with client.stream("POST", url, json=body, timeout=30) as answer:
                async for _ in answer.aiter_raw():
                    heard.set()

        heard = asyncio.Event()
        asking = asyncio.ensure_future(ask())
        (job,) = await it.commands.desk.take(worker, 1, busy=False)
        if moment == "in the stream":
            await it.commands.answers.yielded(worker, job["id"], "data: 1\n\n")
            await asyncio.wait_for(heard.wait(), 5)
        asking.cancel()
        await asyncio.wait([asking])
        await it.plane.until(lambda: it.plane.platform.job(endpoint, job["id"]).status is JobStatus.CANCELLED)
        assert await it.commands.desk.stops(worker) == [job["id"]]


@pytest.mark.parametrize("body", [CHAT, STREAM])
@pytest.mark.parametrize("runs", [True, False])
async def test_a_control_plane_that_ends_answers(it: CommandPlane, body: Any, runs: bool) -> None:
    endpoint = await it.endpoint(workers=ONE if runs else {**ONE, "min": 0, "max": 0})
    asking = asyncio.ensure_future(it.client.post(f"/v2/{endpoint}/openai/v1/completions", json=body))
    if runs:
        await it.commands.desk.take(await it.worker(), 1, busy=False)
    await it.plane.until(lambda: it.plane.dispatcher.active == 1)
    await it.plane.turns()
    it.plane.platform.release_waiting()
    answer = await asyncio.wait_for(asking, 5)
    assert answer.status_code == 503
    assert "error" in answer.json()
    assert it.plane.dispatcher.active == 0  # nobody could ever fetch the answer


# ---- who may, and where


async def test_endpoints_without_a_command_do_not_speak_it(it: CommandPlane) -> None:
    balanced = await it.endpoint(type="LOAD_BALANCER", workers={**ONE, "min": 0})
    for endpoint in (await it.plane.endpoint(), balanced):
        answer = await it.client.post(f"/v2/{endpoint}/openai/v1/completions", json=CHAT)
        assert answer.status_code == 400
        assert "do not speak OpenAI's API" in answer.json()["detail"]
    assert (await it.client.get("/v2/unknown/openai/v1/models")).status_code == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
async def test_bad_bodies_make_no_job(it: CommandPlane, body: bytes) -> None:
    endpoint = await it.endpoint(workers={**ONE, "min": 0, "max": 0})
    answer = await it.client.post(f"/v2/{endpoint}/openai/v1/completions", content=body)
    assert answer.status_code == 400
    assert it.plane.dispatcher.active == 0


async def test_keys_that_may_only_look_may_not_ask(it: CommandPlane) -> None:
    body = {**BODY, **COMMAND, "workers": {**ONE, "min": 0, "max": 0}}
    endpoint = (await it.plane.catalog.create("/p", body, "ann")).id
    url = f"/v2/{endpoint}/openai/v1/models"
    async with client_of(it.app, "wrong") as nobody:
        assert (await nobody.get(url)).status_code == 401
    _, key = await it.keys.create("ann", scope=Scope.READ_ONLY)
    async with client_of(it.app, key) as looking:
        assert (await looking.get(url)).status_code == 403
    async with client_of(it.app, KEY) as owner:
        answer = asyncio.ensure_future(owner.get(url))
        await it.plane.until(lambda: it.plane.dispatcher.active == 1)
        await it.plane.platform.purge(endpoint)
        assert (await answer).status_code == 409


async def test_where_too_many_jobs_wait_no_way_takes_another(tmp_path: Path, anyio_backend: str) -> None:
    few = held(queue_floor=1, queue_per_worker=1, rated="everybody")
    async with command_plane(tmp_path, limits=few) as it:
        endpoint = await it.endpoint(workers={**ONE, "min": 0, "max": 0})
        for _ in range(2):
            assert (await it.client.post(f"/v2/{endpoint}/run", json={"input": {"x": 1}})).status_code == 200
        for path, body in (("run", {"input": {"x": 1}}), ("openai/v1/chat/completions", CHAT)):
            answer = await it.client.post(f"/v2/{endpoint}/{path}", json=body)
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")
        assert it.plane.dispatcher.active == 2
