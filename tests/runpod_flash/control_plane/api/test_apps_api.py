"""Apps, stages and deploys over HTTP."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest

from runpod_flash.control_plane.principals import OWNER, Scope
from tests.support.plane_app import BODY, PlaneApp, served

pytestmark = pytest.mark.anyio

STAGE = "/flash/v1/apps/shop/stages/production"


def manifest(*names: str, **changes: Any) -> dict[str, Any]:
    """The manifest of a build with these endpoints."""
    endpoints = [{"name": name, "kind": "function", "body": {**BODY, "name": name, **changes}} for name in names]
    return {"version": 1, "app": "shop", "endpoints": endpoints}


async def stage(plane: PlaneApp, name: str = "production", **terms: Any) -> None:
    made = await plane.client.post("/flash/v1/apps/shop/stages", json={"name": name, **terms})
    assert made.status_code == 201, made.text


async def deploy(
    client: httpx.AsyncClient, what: Mapping[str, Any], base: int = 0, *, prune: bool = False, at: str = STAGE
) -> httpx.Response:
    return await client.post(f"{at}/deploy", json={"manifest": what, "base": base, "prune": prune})


def kinds(response: httpx.Response) -> dict[str, str]:
    assert response.status_code == 200, response.text
    return {change["endpoint"]: change["change"] for change in response.json()["changes"]}


async def test_the_life_of_a_stage(plane: PlaneApp) -> None:
    await stage(plane)
    first = await deploy(plane.client, manifest("a", "b"))
    assert (kinds(first), first.json()["version"]) == ({"a": "create", "b": "create"}, 1)
    same = await deploy(plane.client, manifest("a", "b"), 1)
    assert (kinds(same), same.json()["version"]) == ({"a": "keep", "b": "keep"}, 1)
    rolled = await deploy(plane.client, manifest("a", env={"A": "2"}), 1)
    assert (kinds(rolled), rolled.json()["version"]) == ({"a": "roll", "b": "left"}, 2)
    pruned = await deploy(plane.client, manifest("a", env={"A": "2"}, workers={"min": 0, "max": 1}), 2, prune=True)
    assert (kinds(pruned), pruned.json()["version"]) == ({"a": "update", "b": "remove"}, 3)

    shown = (await plane.client.get(STAGE)).json()
    (endpoint,) = shown["endpoints"]
    assert endpoint["id"] == first.json()["changes"][0]["id"]
    assert endpoint["url"] == f"http://plane/v2/{endpoint['id']}"
    assert (endpoint["name"], endpoint["type"], endpoint["generation"]) == ("a", "QUEUE", 2)
    assert [version["state"] for version in shown["versions"]] == ["superseded", "superseded", "active"]
    assert shown["manifest"]["endpoints"][0]["name"] == "a"
    assert (shown["app"], shown["version"], shown["expiresAt"]) == ("shop", 3, None)

    (app,) = (await plane.client.get("/flash/v1/apps")).json()["apps"]
    assert (app["name"], [each["name"] for each in app["stages"]]) == ("shop", ["production"])
    assert (await plane.client.delete("/flash/v1/apps/shop")).status_code == 204
    assert plane.catalog.list() == []
    assert (await plane.client.get(STAGE)).json()["code"] == "AppNotFound"


async def test_going_back_and_on(plane: PlaneApp) -> None:
    await stage(plane)
    nothing = await plane.client.post(f"{STAGE}/rollback", json={})
    assert (nothing.status_code, nothing.json()["code"]) == (422, "ConfigError")
    await deploy(plane.client, manifest("a"))
    await deploy(plane.client, manifest("a", "b", env={"A": "2"}), 1)
    await plane.catalog.create("app:shop/production", {**BODY, "name": "left"})
    back = await plane.client.post(f"{STAGE}/rollback", json={})
    assert (kinds(back), back.json()["version"]) == ({"a": "roll", "b": "remove", "left": "left"}, 1)
    (a, _) = plane.catalog.list("app:shop/production")
    assert a.body["env"] == BODY["env"]
    forth = await plane.client.post(f"{STAGE}/rollback", json={"version": 2})
    assert (kinds(forth), forth.json()["version"]) == ({"a": "roll", "b": "create", "left": "left"}, 2)
    unknown = await plane.client.post(f"{STAGE}/rollback", json={"version": 7})
    assert "no version 7; there is 1, 2" in unknown.json()["detail"]
    after = await deploy(plane.client, manifest("a"), 2)
    assert after.json()["version"] == 3


async def test_one_endpoint_goes_until_it_is_deployed_again(plane: PlaneApp) -> None:
    await stage(plane)
    await deploy(plane.client, manifest("a", "b"))
    await plane.catalog.create("app:shop/production", {**BODY, "name": "left"})
    assert (await plane.client.delete(f"{STAGE}/endpoints/left")).status_code == 204
    assert (await plane.client.get(STAGE)).json()["version"] == 1  # it was in no version any more
    assert (await plane.client.delete(f"{STAGE}/endpoints/a")).status_code == 204
    shown = (await plane.client.get(STAGE)).json()
    assert (shown["version"], [each["name"] for each in shown["endpoints"]]) == (2, ["b"])
    assert [each["name"] for each in shown["manifest"]["endpoints"]] == ["b"]
    absent = await plane.client.delete(f"{STAGE}/endpoints/a")
    assert (absent.status_code, absent.json()["code"]) == (404, "EndpointNotFound")
    again = await deploy(plane.client, manifest("a", "b"), 2)
    assert (kinds(again), again.json()["version"]) == ({"a": "create", "b": "keep"}, 3)
    back = await plane.client.post(f"{STAGE}/rollback", json={"version": 2})
    assert kinds(back) == {"a": "remove", "b": "keep"}


async def test_an_endpoint_of_another_type_is_made_anew(plane: PlaneApp) -> None:
    await stage(plane)
    first = await deploy(plane.client, manifest("a"))
    balanced = manifest("a", type="LOAD_BALANCER", command="true", scaling={"type": "REQUEST_COUNT", "requestCount": 1})
    second = await deploy(plane.client, balanced, 1)
    assert [change["change"] for change in second.json()["changes"]] == ["remove", "create"]
    assert second.json()["stage"]["endpoints"][0]["id"] != first.json()["stage"]["endpoints"][0]["id"]


async def test_a_plan_that_others_have_overtaken_is_refused(plane: PlaneApp) -> None:
    await stage(plane)
    await deploy(plane.client, manifest("a"))
    late = await deploy(plane.client, manifest("b"))
    assert (late.status_code, late.json()["code"]) == (409, "StageMoved")
    assert [record.name for record in plane.catalog.list()] == ["a"]


async def test_of_two_deploys_at_once_one_is_refused_and_nothing_changes_before_all_is_ready(plane: PlaneApp) -> None:
    await stage(plane)
    preparing, go_on = asyncio.Event(), asyncio.Event()

    async def prepare(endpoint: Any, say: Any) -> None:
        preparing.set()
        await go_on.wait()

    plane.deploys.prepare = prepare
    first = asyncio.create_task(deploy(plane.client, manifest("a")))
    await preparing.wait()
    second = await deploy(plane.client, manifest("b"))
    assert (second.status_code, second.json()["code"]) == (409, "StageBusy")
    assert (await plane.client.delete(STAGE)).json()["code"] == "StageBusy"
    assert plane.catalog.list() == []
    go_on.set()
    assert kinds(await first) == {"a": "create"}


async def test_what_cannot_be_made_ready_changes_nothing(plane: PlaneApp) -> None:
    await stage(plane)

    async def prepare(endpoint: Any, say: Any) -> None:
        say("3 packages")
        if endpoint.name == "b":
            raise ZeroDivisionError("secret detail")

    plane.deploys.prepare = prepare
    lines = await progress(plane.client, manifest("a", "b"))
    assert [line["event"] for line in lines] == ["preparing"] * 4 + ["failed"]
    assert lines[1] == {"event": "preparing", "endpoint": "a", "text": "3 packages"}
    assert (lines[-1]["status"], "secret" in lines[-1]["detail"]) == (500, False)
    assert plane.catalog.list() == []
    assert (await plane.client.get(STAGE)).json()["version"] == 0


async def progress(client: httpx.AsyncClient, what: Mapping[str, Any], base: int = 0) -> Sequence[dict[str, Any]]:
    response = await client.post(
        f"{STAGE}/deploy", json={"manifest": what, "base": base}, headers={"Accept": "application/x-ndjson"}
    )
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in response.text.splitlines()]


async def test_the_last_line_has_the_result(plane: PlaneApp) -> None:
    await stage(plane)
    lines = await progress(plane.client, manifest("a"))
    assert [line["event"] for line in lines] == ["preparing", "changing", "done"]
    assert (lines[-1]["version"], lines[-1]["stage"]["name"]) == (1, "production")


async def test_every_fault_of_a_manifest_names_its_endpoint(plane: PlaneApp) -> None:
    await stage(plane)
    bad = manifest("a", "b", workers={"min": 3, "max": 1})
    refused = await deploy(plane.client, {**bad, "endpoints": [*bad["endpoints"], {"name": "c"}]})
    assert (refused.status_code, refused.json()["code"]) == (422, "ConfigError")
    a, b, c = refused.json()["errors"]
    assert a == "endpoint 'a': $.workers: min is 3 and max is 1; min must not be above max"
    assert b.startswith("endpoint 'b'")
    assert c.startswith("endpoint 'c'")
    twice = await deploy(plane.client, manifest("a", "a"))
    assert "there are two of this name" in twice.json()["detail"]
    volume = await deploy(plane.client, manifest("a", networkVolumes=["nowhere"]))
    assert volume.json()["errors"][0].startswith("endpoint 'a': $.networkVolumes[0]")
    assert plane.catalog.list() == []


async def test_missing_artifacts_are_named(plane: PlaneApp) -> None:
    await stage(plane)
    what = manifest("a", type="LOAD_BALANCER", scaling={"type": "REQUEST_COUNT", "requestCount": 1})
    what["endpoints"][0]["artifact"] = "a" * 64
    refused = await deploy(plane.client, what)
    assert refused.json()["code"] == "ContentNotFound"
    assert f"{'a' * 64} (of a)" in refused.json()["detail"]


async def test_stages_that_expire_are_shown_to_who_asks(plane: PlaneApp) -> None:
    await stage(plane, "dev", expiresIn=60, label="on my desk")
    assert (await plane.client.get("/flash/v1/apps")).json() == {"apps": []}
    (app,) = (await plane.client.get("/flash/v1/apps?ephemeral=true")).json()["apps"]
    assert (app["stages"][0]["label"], app["stages"][0]["expiresAt"] is None) == ("on my desk", False)
    renewed = await plane.client.post("/flash/v1/apps/shop/stages/dev/renew", json={})
    assert renewed.json()["expiresAt"] >= app["stages"][0]["expiresAt"]
    assert (await plane.client.delete("/flash/v1/apps/shop/stages/dev")).status_code == 204
    assert (await plane.client.get("/flash/v1/apps?ephemeral=true")).json() == {"apps": []}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "field 'name' is missing"),
        ({"name": "a b"}, 422, "did you mean 'a-b'"),
        ({"name": "a", "expiresIn": 0}, 400, "'expiresIn' is 0"),
        ({"name": "a", "expiresIn": True}, 400, "whole number"),
        ({"name": "a", "label": 3}, 400, "'label'"),
        ({"name": "a", "labels": ""}, 400, "there is no field 'labels'"),
    ],
)
async def test_bad_stages_are_refused(plane: PlaneApp, body: dict[str, Any], status: int, words: str) -> None:
    refused = await plane.client.post("/flash/v1/apps/shop/stages", json=body)
    assert (refused.status_code, words in refused.json()["detail"]) == (status, True), refused.text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"base": 0}, "'manifest' is None"),
        ({"manifest": {"endpoints": []}}, "'base' is None"),
        ({"manifest": {"endpoints": []}, "base": 0, "prune": 1}, "'prune' is 1"),
        ({"manifest": {"endpoints": []}, "base": 0, "force": 1}, "there is no field 'force'"),
    ],
)
async def test_bad_deploys_are_refused(plane: PlaneApp, body: dict[str, Any], words: str) -> None:
    await stage(plane)
    refused = await plane.client.post(f"{STAGE}/deploy", json=body)
    assert (refused.status_code, words in refused.json()["detail"]) == (400, True), refused.text


async def test_everybody_has_apps_of_their_own(plane: PlaneApp) -> None:
    await stage(plane)
    async with await plane.user("ada") as ada, plane.worker(OWNER, "app:shop/production") as worker:
        assert (await ada.get("/flash/v1/apps")).json() == {"apps": []}
        assert (await ada.get(STAGE)).status_code == 404
        assert (await worker.get(STAGE)).status_code == 200
        assert (await deploy(worker, manifest("a"))).status_code == 403
    async with await plane.user("ada", Scope.READ_ONLY) as reader:
        assert (await reader.post("/flash/v1/apps", json={"name": "x"})).status_code == 403
    async with plane.worker("ada") as worker:
        (endpoint,) = [(await plane.catalog.create("", BODY, "ada")).id]
        assert (await worker.get("/flash/v1/apps")).status_code == 200
    async with await plane.user("ada", Scope.ENDPOINT, [endpoint]) as caller:
        assert (await caller.get("/flash/v1/apps")).status_code == 403


async def test_what_an_app_has_is_changed_with_it_alone(plane: PlaneApp) -> None:
    await stage(plane)
    endpoint = (await deploy(plane.client, manifest("a"))).json()["changes"][0]["id"]
    for method, body in (("DELETE", None), ("PATCH", {"env": {}})):
        refused = await plane.client.request(method, f"/v2/serverless/{endpoint}", json=body)
        assert (refused.status_code, "flash undeploy" in refused.json()["detail"]) == (409, True)
    scope = {"X-Flash-Project": "app:shop/production"}
    made = await plane.client.post("/v2/serverless", json=BODY, headers=scope)
    assert (made.status_code, "flash deploy" in made.json()["detail"]) == (422, True)
    listed = (await plane.client.get("/v2/serverless", headers=scope)).json()["endpoints"]
    assert [each["id"] for each in listed] == [endpoint]
    assert (await plane.client.get(f"/v2/serverless/{endpoint}")).status_code == 200


async def test_what_has_expired_is_collected(plane: PlaneApp) -> None:
    await stage(plane, "dev", expiresIn=60)
    assert (await plane.client.post("/flash/v1/gc", json={})).json() == {"removed": []}
    apps = plane.deploys.apps
    record = apps.stage(OWNER, "shop", "dev")
    await apps.adopt([], [(replace(record, renewed_at=0.0), [])])
    for _ in range(2):
        asked = (await plane.client.post("/flash/v1/gc", json={"dryRun": True})).json()["removed"]
        assert [(each["kind"], each["name"], each["app"]) for each in asked] == [("stage", "dev", "shop")]
    async with await plane.user("ada") as ada:
        assert (await ada.post("/flash/v1/gc", json={})).json() == {"removed": []}
    assert (await plane.client.post("/flash/v1/gc", json={"dryRun": False})).json() == {"removed": asked}
    assert apps.all_stages() == []
    assert (await plane.client.post("/flash/v1/gc", json={"dryRun": "no"})).status_code == 400


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
async def test_who_leaves_while_it_is_prepared_has_changed_nothing(plane: PlaneApp, accept: str) -> None:
    await stage(plane)
    began, ended = asyncio.Event(), asyncio.Event()

    async def prepare(endpoint: Any, say: Any) -> None:
        try:
            began.set()
            await asyncio.sleep(60)
        finally:
            ended.set()

    plane.deploys.prepare = prepare
    async with served(plane) as client:
        body = {"manifest": manifest("a"), "base": 0}
        deploying = asyncio.create_task(client.post(f"{STAGE}/deploy", json=body, headers={"Accept": accept}))
        await began.wait()
        deploying.cancel()
        async with asyncio.timeout(10):
            await ended.wait()
            while (await client.delete(STAGE)).status_code == 409:
                await asyncio.sleep(0.01)
    assert plane.catalog.list() == []
