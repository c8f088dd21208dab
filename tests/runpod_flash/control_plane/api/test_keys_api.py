"""Keys over HTTP: the owner makes, lists and revokes them, nobody else does."""

import asyncio
import json
from typing import Any

import pytest

from runpod_flash.control_plane.principals import Scope
from tests.support.plane_app import BODY, PlaneApp, client_of, served

pytestmark = pytest.mark.anyio


async def test_made_listed_used_revoked(plane: PlaneApp) -> None:
    made = await plane.client.post("/flash/v1/keys", json={"user": "alice", "name": "laptop"})
    assert made.status_code == 201
    answer = made.json()
    key = answer.pop("key")
    assert key.startswith(f"flash_{answer['id']}_")
    assert (answer["user"], answer["name"], answer["scope"], answer["endpoints"]) == ("alice", "laptop", "full", [])
    listed = await plane.client.get("/flash/v1/keys")
    assert listed.json() == {"keys": [answer]}
    async with client_of(plane.app, key) as alice:
        assert (await alice.get("/v2/serverless")).status_code == 200
        revoked = await plane.client.delete(f"/flash/v1/keys/{answer['id']}")
        assert (revoked.status_code, revoked.content) == (204, b"")
        refused = await alice.get("/v2/serverless")
    assert (refused.status_code, refused.json()["detail"]) == (401, "invalid api key")
    (kept,) = (await plane.client.get("/flash/v1/keys")).json()["keys"]
    assert kept["revoked"] >= kept["created"]
    unknown = await plane.client.delete("/flash/v1/keys/unknown")
    assert unknown.status_code == 404


async def test_a_stream_ends_with_its_key(plane: PlaneApp) -> None:
    made, key = await plane.keys.create("alice")
    async with served(plane) as owner, client_of(plane.app, key):
        headers = {"Authorization": key}
        async with owner.stream("GET", "/flash/v1/events?client=c", headers=headers) as stream:
            lines = stream.aiter_lines()
            assert json.loads(await anext(lines))["client"] == "c"
            assert plane.hub.clients == {"alice/c"}
            assert (await owner.delete(f"/flash/v1/keys/{made.id}")).status_code == 204
            async with asyncio.timeout(10):
                assert [line async for line in lines] == []


async def test_only_the_owner_may(plane: PlaneApp) -> None:
    endpoint = (await plane.catalog.create("", BODY, "alice")).id
    others = [
        await plane.user("alice"),
        await plane.user("alice", Scope.ENDPOINT, [endpoint]),
        await plane.user("alice", Scope.READ_ONLY),
        plane.worker("alice"),
        plane.worker(),
    ]
    before = plane.keys.list()
    for other in others:
        async with other:
            for answer in (
                await other.get("/flash/v1/keys"),
                await other.post("/flash/v1/keys", json={"user": "alice"}),
                await other.delete(f"/flash/v1/keys/{before[0].id}"),
                await other.delete("/flash/v1/keys/unknown"),
            ):
                assert (answer.status_code, answer.json()["code"]) == (403, "AuthError")
    assert plane.keys.list() == before


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "'user' is missing"),
        ({"user": "A"}, 400, "field 'user' is 'A'"),
        ({"user": ["a"]}, 400, "field 'user' is ['a']"),
        ({"user": "a", "name": 5}, 400, "field 'name' is 5"),
        ({"user": "a", "name": "x" * 256}, 400, "field 'name'"),
        ({"user": "a", "scope": "admin"}, 400, "one of full, endpoint, read-only"),
        ({"user": "a", "scope": ["full"]}, 400, "field 'scope'"),
        ({"user": "a", "scope": "endpoint"}, 400, "'endpoints' is missing"),
        ({"user": "a", "scope": "endpoint", "endpoints": []}, 400, "0 items"),
        ({"user": "a", "scope": "endpoint", "endpoints": ["x"]}, 422, "no endpoint of this id"),
        ({"user": "a", "scope": "full", "endpoints": ["x"]}, 400, "'endpoints' is for keys of scope 'endpoint'"),
        ({"user": "a", "endpoint": ["x"]}, 400, "no field 'endpoint'"),
        ([], 400, "no JSON object"),
    ],
)
async def test_bad_bodies(plane: PlaneApp, body: Any, status: int, said: str) -> None:
    answer = await plane.client.post("/flash/v1/keys", json=body)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text
    assert plane.keys.list() == []
