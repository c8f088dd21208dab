"""Endpoints over HTTP: create, list by project, change, delete."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from runpod_flash.confighash import config_hash
from runpod_flash.control_plane.principals import Scope
from tests.support.plane_app import BODY, PlaneApp
from worker_runtime.wire.jobs import JobStatus

pytestmark = pytest.mark.anyio


def project(folder: str) -> dict[str, str]:
    return {"X-Flash-Project": quote(folder)}


async def names(plane: PlaneApp, headers: dict[str, str] | None = None) -> list[str]:
    listed = (await plane.client.get("/v2/serverless", headers=headers)).json()
    assert set(listed) == {"endpoints"}
    return [endpoint["name"] for endpoint in listed["endpoints"]]


async def test_what_was_sent_comes_back_and_hashes_alike(plane: PlaneApp) -> None:
    response = await plane.client.post("/v2/serverless", json=BODY)
    assert response.status_code == 201
    made = response.json()
    assert {key: made[key] for key in BODY if key != "gpu"} == {key: BODY[key] for key in BODY if key != "gpu"}
    assert config_hash(made) == config_hash(BODY)
    assert made["requestUrls"] == {
        "run": f"http://plane/v2/{made['id']}/run",
        "runSync": f"http://plane/v2/{made['id']}/runsync",
        "status": f"http://plane/v2/{made['id']}/status/{{job_id}}",
        "stream": f"http://plane/v2/{made['id']}/stream/{{job_id}}",
        "cancel": f"http://plane/v2/{made['id']}/cancel/{{job_id}}",
        "retry": f"http://plane/v2/{made['id']}/retry/{{job_id}}",
        "purgeQueue": f"http://plane/v2/{made['id']}/purge-queue",
        "health": f"http://plane/v2/{made['id']}/health",
    }
    assert made["createdAt"].endswith("Z")
    assert (await plane.client.get(f"/v2/serverless/{made['id']}")).json() == made


async def test_a_load_balanced_endpoint_has_a_url_of_its_own(plane: PlaneApp) -> None:
    counted = {"scaling": {"type": "REQUEST_COUNT", "requestCount": 2}, "workers": {"min": 0, "max": 1}}
    response = await plane.client.post(
        "/v2/serverless", json={**BODY, **counted, "type": "LOAD_BALANCER", "command": "python app.py"}
    )
    made = response.json()
    assert response.status_code == 201, made
    assert made["requestUrls"] == {
        "base": f"http://plane/lb/{made['id']}",
        "health": f"http://plane/v2/{made['id']}/health",
    }
    assert made["workers"]["idleTimeout"] == 10


async def test_a_project_sees_its_own(plane: PlaneApp) -> None:
    for folder, name in (("/home/ä b", "one"), ("/home/other", "one"), ("/home/other", "two")):
        response = await plane.client.post("/v2/serverless", json={**BODY, "name": name}, headers=project(folder))
        assert response.status_code == 201
    await plane.endpoint(name="global")
    assert await names(plane, project("/home/ä b")) == ["one"]
    assert await names(plane, project("/home/other")) == ["one", "two"]
    assert await names(plane, project("/nowhere")) == []
    assert await names(plane) == ["one", "one", "two", "global"]
    assert plane.catalog.list()[0].project == "/home/ä b"


async def test_a_taken_name(plane: PlaneApp) -> None:
    first = await plane.endpoint()
    again = await plane.client.post("/v2/serverless", json=BODY)
    assert again.status_code == 409
    assert first in again.json()["detail"]


async def test_a_change_keeps_what_it_does_not_name(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    told: list[bool] = []
    plane.catalog.on_change = lambda record, rolled: told.append(rolled)
    changed = await plane.client.patch(f"/v2/serverless/{endpoint}", json={"workers": {"max": 7}})
    assert changed.json()["workers"] == {"min": 0, "max": 7, "idleTimeout": 60}
    changed = await plane.client.patch(f"/v2/serverless/{endpoint}", json={**BODY, "env": {"B": "2"}})
    assert (changed.json()["env"], changed.json()["workers"]["max"]) == ({"B": "2"}, 3)
    assert (await plane.client.get(f"/v2/serverless/{endpoint}")).json() == changed.json()
    assert told == [False, True]


async def test_refusals_leave_everything_as_it_was(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    before = plane.catalog.get(endpoint)
    cases: list[tuple[dict[str, Any], int]] = [
        ({"unknown": 1}, 422),
        ({"cpu": [{"id": "cpu3c", "vcpuCount": 2}]}, 400),
        ({"type": "LOAD_BALANCER"}, 400),
        ({"workers": {"min": 9}}, 422),
    ]
    for patch, status in cases:
        response = await plane.client.patch(f"/v2/serverless/{endpoint}", json=patch)
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
    assert plane.catalog.get(endpoint) == before


async def test_every_fault_of_a_body_is_listed(plane: PlaneApp) -> None:
    response = await plane.client.post("/v2/serverless", json={**BODY, "timeout": -1, "mood": "good"})
    assert response.status_code == 422
    assert sorted(response.json()["errors"]) == [
        "$.timeout: Input should be greater than or equal to 0",
        "$: additional properties 'mood' not allowed",
    ]
    assert await names(plane) == []


async def test_deleting_cancels_the_jobs(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    job = (await plane.client.post(f"/v2/{endpoint}/run", json={"input": {"x": 1}})).json()["id"]
    deleted = await plane.client.delete(f"/v2/serverless/{endpoint}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert plane.platform.jobs[job].status is JobStatus.CANCELLED
    for request in (
        plane.client.get(f"/v2/serverless/{endpoint}"),
        plane.client.patch(f"/v2/serverless/{endpoint}", json={}),
        plane.client.delete(f"/v2/serverless/{endpoint}"),
        plane.client.get(f"/v2/serverless/{endpoint}/workers"),
    ):
        gone: httpx.Response = await request
        assert (gone.status_code, gone.json()["code"]) == (404, "EndpointNotFound")


async def test_workers(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    shown = (await plane.client.get(f"/v2/serverless/{endpoint}/workers")).json()
    assert [worker["id"] for worker in shown["workers"]] == ["worker-1", "worker-2"]
    assert shown["summary"] == {"running": 1, "idle": 1, "initializing": 0, "throttled": 0, "unhealthy": 0, "total": 2}
    assert shown["endpointVersion"] == 1


async def test_everybody_has_endpoints_of_their_own(plane: PlaneApp) -> None:
    mine = await plane.endpoint()
    async with await plane.user("alice") as alice, await plane.user("bob") as bob, plane.worker("alice") as worker:
        made = [await user.post("/v2/serverless", json=BODY) for user in (alice, bob)]
        assert [answer.status_code for answer in made] == [201, 201]  # of the same name
        first, second = (answer.json()["id"] for answer in made)
        assert (await worker.post("/v2/serverless", json=BODY)).status_code == 409

        async def ids(user: httpx.AsyncClient, query: str = "") -> list[str]:
            answer = await user.get(f"/v2/serverless{query}")
            return [endpoint["id"] for endpoint in answer.json()["endpoints"]]

        assert [await ids(user) for user in (plane.client, alice, bob, worker)] == [[mine], [first], [second], [first]]
        assert await ids(plane.client, "?all=true") == [mine, first, second]
        for user in (alice, worker):
            assert (await user.get("/v2/serverless?all=true")).status_code == 403
        assert (await plane.client.get("/v2/serverless?all=yes")).status_code == 400
        for other in (mine, second):
            for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/workers")):
                refused = await alice.request(method, f"/v2/serverless/{other}{path}")
                unknown = await alice.request(method, f"/v2/serverless/nowhere{path}")
                assert refused.status_code == 404
                assert refused.json() == {
                    **unknown.json(),
                    "detail": unknown.json()["detail"].replace("nowhere", other),
                }
        assert (await plane.client.patch(f"/v2/serverless/{first}", json={"timeout": 5})).status_code == 200
        assert plane.catalog.get(first).owner == "alice"
        assert (await plane.client.delete(f"/v2/serverless/{second}")).status_code == 204


async def test_what_scopes_may(plane: PlaneApp) -> None:
    one, two = [(await plane.catalog.create("", {**BODY, "name": name}, "alice")).id for name in ("one", "two")]
    async with (
        await plane.user("alice", Scope.READ_ONLY) as looker,
        await plane.user("alice", Scope.ENDPOINT, [one]) as narrow,
    ):
        assert len((await looker.get("/v2/serverless")).json()["endpoints"]) == 2
        (seen,) = (await narrow.get("/v2/serverless")).json()["endpoints"]
        assert seen["id"] == one
        assert (await narrow.get(f"/v2/serverless/{two}")).status_code == 404
        for user in (looker, narrow):
            assert (await user.get(f"/v2/serverless/{one}")).status_code == 200
            for method in ("PATCH", "DELETE"):
                assert (await user.request(method, f"/v2/serverless/{one}", json={})).status_code == 403
            assert (await user.post("/v2/serverless", json={**BODY, "name": "x"})).status_code == 403
    assert len(plane.catalog.list()) == 2


async def test_code_of_a_worker_manages_the_endpoints_of_its_project(plane: PlaneApp) -> None:
    other = (await plane.client.post("/v2/serverless", json=BODY, headers=project("/b"))).json()["id"]
    async with plane.worker(project="/a") as worker:
        own = (await worker.post("/v2/serverless", json=BODY, headers=project("/a"))).json()["id"]
        assert (await worker.patch(f"/v2/serverless/{own}", json={"timeout": 5})).status_code == 200
        for answer in (
            await worker.post("/v2/serverless", json={**BODY, "name": "more"}, headers=project("/b")),
            await worker.post("/v2/serverless", json={**BODY, "name": "more"}),
            await worker.patch(f"/v2/serverless/{other}", json={"timeout": 5}),
            await worker.delete(f"/v2/serverless/{other}"),
        ):
            assert answer.status_code == 403
            assert "its own project only" in answer.json()["detail"]
        assert (await worker.delete(f"/v2/serverless/{own}")).status_code == 204
    assert await names(plane) == [BODY["name"]]


async def test_one_that_is_asked_for_by_its_name_counts_as_used(plane: PlaneApp) -> None:
    used, other = await plane.endpoint(name="used"), await plane.endpoint(name="other")
    before = {each: plane.expiring.expires_at(plane.catalog.get(each)) for each in (used, other)}
    listed = (await plane.client.get("/v2/serverless", params={"name": "used"})).json()["endpoints"]
    assert [each["id"] for each in listed] == [used]
    after = {each: plane.expiring.expires_at(plane.catalog.get(each)) for each in (used, other)}
    assert (after[used] or 0) > (before[used] or 0)
    assert after[other] == before[other]
    assert (await plane.client.get("/v2/serverless?name=none")).json() == {"endpoints": []}
