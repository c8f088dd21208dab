"""Jobs by their own names: many asked for at once, found by their keys, all facts of one."""

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp

from runpod_flash.control_plane.api.access import Access
from runpod_flash.control_plane.api.flash_jobs import AT_ONCE, FlashJobsApi
from runpod_flash.control_plane.keys import AuthMiddleware
from runpod_flash.control_plane.principals import Principal, Scope
from runpod_flash.control_plane.records import Submission
from tests.support.plane_app import BODY, KEY, PlaneApp, client_of
from worker_runtime.wire.jobs import JobStatus

pytestmark = pytest.mark.anyio


def app_with(plane: PlaneApp, *, answer_limit: int) -> ASGIApp:
    """This face alone, for the owner, with short answers."""
    app = Starlette(routes=FlashJobsApi(plane.platform, Access(plane.catalog), answer_limit=answer_limit).routes())
    return AuthMiddleware(app, lambda given: Principal())


async def jobs_of(plane: PlaneApp, endpoint: str, count: int, **headers: str) -> list[str]:
    """Submit jobs; returns their ids."""
    answers = [
        await plane.client.post(f"/v2/{endpoint}/run", json={"input": {"x": number}}, headers=headers)
        for number in range(count)
    ]
    return [answer.json()["id"] for answer in answers]


async def watch(plane: PlaneApp, jobs: list[str], client: str = "c") -> Any:
    response = await plane.client.post("/flash/v1/jobs/watch", json={"client": client, "jobs": jobs})
    assert response.status_code == 200, response.text
    return response.json()


async def test_final_jobs_come_at_once_and_the_stream_hears_of_the_others(plane: PlaneApp) -> None:
    endpoint, other = await plane.endpoint(), await plane.endpoint(name="other")
    done, open_ = await jobs_of(plane, endpoint, 2)
    (elsewhere,) = await jobs_of(plane, other, 1)
    await plane.platform.end(done, JobStatus.COMPLETED, {"answer": "ä"})
    found = await watch(plane, ["gone", open_, done, elsewhere, open_])
    assert [(job["id"], job["status"], job["output"]) for job in found["jobs"]] == [
        (done, "COMPLETED", {"answer": "ä"})
    ]
    assert (found["waiting"], found["unknown"], found["rest"]) == ([open_, elsewhere], ["gone"], [])
    assert plane.platform.watched == {open_: "c", elsewhere: "c"}


async def test_what_does_not_fit_is_left_for_the_next_request(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    jobs = await jobs_of(plane, endpoint, 5)
    for job in jobs:
        await plane.platform.end(job, JobStatus.COMPLETED, "x" * 600)
    small = app_with(plane, answer_limit=1000)
    async with client_of(small, KEY) as client:
        rest, rounds = [*jobs, "gone"], []
        while rest:
            answer = (await client.post("/flash/v1/jobs/watch", json={"client": "c", "jobs": rest})).json()
            rounds.append([job["id"] for job in answer["jobs"]])
            assert answer["unknown"] == (["gone"] if len(rounds) == 1 else [])
            rest = answer["rest"]
        assert rounds == [jobs[:2], jobs[2:4], jobs[4:]]
        tiny = app_with(plane, answer_limit=1)
    async with client_of(tiny, KEY) as client:
        answer = (await client.post("/flash/v1/jobs/watch", json={"client": "c", "jobs": jobs})).json()
        assert ([job["id"] for job in answer["jobs"]], answer["rest"]) == (jobs[:1], jobs[1:])


async def test_jobs_are_found_by_their_keys(plane: PlaneApp) -> None:
    endpoint, other = await plane.endpoint(), await plane.endpoint(name="other")
    (one,) = await jobs_of(plane, endpoint, 1, **{"Idempotency-Key": "k1"})
    (two,) = await jobs_of(plane, other, 1, **{"Idempotency-Key": "k2"})
    await plane.platform.end(two, JobStatus.FAILED)
    response = await plane.client.post("/flash/v1/jobs/find", json={"keys": ["k1", "never", "k2"]})
    assert response.json() == {
        "jobs": {
            "k1": {"id": one, "endpoint": endpoint, "status": "IN_QUEUE"},
            "k2": {"id": two, "endpoint": other, "status": "FAILED"},
        }
    }


async def test_the_facts_of_a_job(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    (job,) = await jobs_of(plane, endpoint, 1)
    facts = (await plane.client.get(f"/flash/v1/jobs/{job}")).json()
    about = {"id": endpoint, "name": "palette", "project": "", "app": None, "stage": None}
    assert facts["endpoint"] == about
    assert (facts["job"]["id"], facts["job"]["status"]) == (job, "IN_QUEUE")
    assert (facts["attempts"], facts["cause"]) == (0, {"kind": "queued"})
    await plane.platform.end(job, JobStatus.COMPLETED, 1)
    facts = (await plane.client.get(f"/flash/v1/jobs/{job}")).json()
    assert (facts["job"]["output"], facts["attempts"], facts["cause"]) == (1, 1, None)
    absent = await plane.client.get("/flash/v1/jobs/gone")
    assert (absent.status_code, absent.json()["code"]) == (404, "JobNotFound")


@pytest.mark.parametrize(("path", "field"), [("watch", "jobs"), ("find", "keys")])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("a", "is 'a'"),
        (None, "is None"),
        ({}, "is {}"),
        ([], "has 0 items"),
        (["a"] * (AT_ONCE + 1), "has 1001 items"),
        (["a", 7], "has 7 as item 1"),
        ([""], "has '' as item 0"),
        (["a" * 256], "has 'aaa"),
        (["\ud800"], "as item 0"),
    ],
)
async def test_bad_lists(plane: PlaneApp, path: str, field: str, value: Any, said: str) -> None:
    content = json.dumps({"client": "c", field: value})
    response = await plane.client.post(f"/flash/v1/jobs/{path}", content=content)
    assert response.status_code == 400, response.text
    assert response.headers["content-type"] == "application/problem+json"
    detail = response.json()["detail"]
    assert f"field '{field}'" in detail
    assert said in detail
    assert "it must be a list of 1 to 1000 ids, each a text of 1 to 255 characters" in detail


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "no JSON object"),
        ("{", "no JSON"),
        ('{"jobs": ["a"]}', "field 'client' is missing; it must be a text of 1 to 255 characters"),
        ('{"client": 5, "jobs": ["a"]}', "field 'client' is 5; it must be"),
        ('{"client": "", "jobs": ["a"]}', "field 'client' is ''; it must be"),
        ('{"client": "c"}', "field 'jobs' is missing; it must be a list of 1 to 1000 ids"),
    ],
)
async def test_bad_bodies(plane: PlaneApp, content: str, said: str) -> None:
    response = await plane.client.post("/flash/v1/jobs/watch", content=content)
    assert (response.status_code, said in response.json()["detail"]) == (400, True), response.text
    assert plane.platform.watched == {}


async def test_as_many_as_are_allowed(plane: PlaneApp) -> None:
    names = [f"{number:0255}" for number in range(AT_ONCE)]
    assert (await watch(plane, names))["unknown"] == names


async def test_jobs_of_others_are_unknown(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    (job,) = await jobs_of(plane, endpoint, 1, **{"Idempotency-Key": "k"})
    async with await plane.user("bob") as bob, plane.worker("bob") as worker:
        for other in (bob, worker):
            watched = await other.post("/flash/v1/jobs/watch", json={"client": "c", "jobs": [job]})
            assert watched.json() == {"jobs": [], "waiting": [], "unknown": [job], "rest": []}
            assert (await other.post("/flash/v1/jobs/find", json={"keys": ["k"]})).json() == {"jobs": {}}
            refused, unknown = [await other.get(f"/flash/v1/jobs/{name}") for name in (job, "gone")]
            assert refused.status_code == 404
            assert refused.json() == {**unknown.json(), "detail": unknown.json()["detail"].replace("gone", job)}
    assert plane.platform.watched == {}


async def test_who_watches_for_another_user_is_told_apart(plane: PlaneApp) -> None:
    async with await plane.user("bob") as bob, await plane.user("bob", Scope.READ_ONLY) as looker:
        endpoint = (await plane.catalog.create("", BODY, "bob")).id
        job = await plane.platform.submit(endpoint, Submission("j", {"x": 1}))
        asked = {"client": "c", "jobs": [job.id]}
        assert (await looker.post("/flash/v1/jobs/watch", json=asked)).status_code == 403
        assert (await bob.post("/flash/v1/jobs/watch", json=asked)).json()["waiting"] == [job.id]
        assert plane.platform.watched == {job.id: "bob/c"}
        assert (await looker.get(f"/flash/v1/jobs/{job.id}")).status_code == 200


async def test_who_follows_a_job_gets_what_it_wrote_until_then(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    (job,) = await jobs_of(plane, endpoint, 1)
    asked = {"client": "c", "jobs": [job, "unknown"], "lines": True}
    watched = (await plane.client.post("/flash/v1/jobs/watch", json=asked)).json()
    assert (watched["waiting"], watched["lines"]) == ([job], [{"stream": "stdout", "line": "hello"}])
    for change in ({"lines": False}, {"jobs": ["unknown", job]}):
        assert "lines" not in (await plane.client.post("/flash/v1/jobs/watch", json={**asked, **change})).json()
    refused = await plane.client.post("/flash/v1/jobs/watch", json={**asked, "lines": "yes"})
    assert (refused.status_code, "true or false" in refused.json()["detail"]) == (400, True)


async def test_items_are_handed_out_after_the_one_that_has_arrived(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    (job,) = await jobs_of(plane, endpoint, 1)
    path = f"/flash/v1/jobs/{job}/stream"
    first = await plane.client.post(path, json={"after": 0, "wait": 0})
    assert first.json() == {"items": [[1, "a"], [2, "b"], [3, "c"]], "ended": False}
    await plane.platform.end(job, JobStatus.COMPLETED)
    assert (await plane.client.post(path, json={"after": 2, "wait": 0})).json() == {"items": [[3, "c"]], "ended": True}
    assert plane.platform.arrived == {job: 2}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "field 'after' is None; it must be a whole number"),
        ({"after": -1, "wait": 0}, "field 'after' is -1"),
        ({"after": True, "wait": 0}, "field 'after' is True"),
        ({"after": 0, "wait": 10**6}, "field 'wait' is 1000000; it must be a whole number, 0 to 30000"),
    ],
)
async def test_a_question_for_items_must_be_one(plane: PlaneApp, body: dict[str, Any], said: str) -> None:
    answer = await plane.client.post("/flash/v1/jobs/j/stream", json=body)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


async def test_streams_of_others_are_unknown(plane: PlaneApp) -> None:
    (job,) = await jobs_of(plane, await plane.endpoint(), 1)
    stranger = await plane.user("stranger")
    for client, name in ((stranger, job), (plane.client, "absent")):
        answer = await client.post(f"/flash/v1/jobs/{name}/stream", json={"after": 0, "wait": 0})
        assert answer.status_code == 404
