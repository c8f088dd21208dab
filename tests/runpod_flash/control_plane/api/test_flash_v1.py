"""Artifacts, values, events and the rest below /flash/v1."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from runpod_flash.control_plane.principals import Scope
from tests.support.plane_app import BODY, PlaneApp, served
from tests.support.waiting import wait_until
from worker_runtime.wire import paths
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest

pytestmark = pytest.mark.anyio

DATA = b"value" * 300_000
SHA = hashlib.sha256(DATA).hexdigest()
MANIFEST = ArtifactManifest("function", "f", "c" * 64, EnvironmentRequest("3.11"))
ARTIFACT = paths.pack(MANIFEST, b"code", {})


async def test_a_value_is_sent_once_and_fetched(plane: PlaneApp) -> None:
    url = f"/flash/v1/values/{SHA}"
    assert (await plane.client.head(url)).status_code == 404
    absent = await plane.client.get(url)
    assert (absent.status_code, absent.json()["code"]) == (404, "ContentNotFound")
    stored = await plane.client.put(url, content=DATA)
    assert (stored.status_code, stored.json()) == (201, {"sha256": SHA, "size": len(DATA)})
    head = await plane.client.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(DATA)), b"")
    assert (await plane.client.get(url)).content == DATA


async def test_an_artifact_is_sent_once(plane: PlaneApp) -> None:
    url = f"/flash/v1/artifacts/{MANIFEST.id}"
    assert (await plane.client.head(url)).status_code == 404
    assert (await plane.client.put(url, content=ARTIFACT)).status_code == 201
    head = await plane.client.head(url)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(ARTIFACT)))
    assert plane.blobs.read_artifact(MANIFEST.id) == ARTIFACT


async def test_an_artifact_comes_in_pieces(plane: PlaneApp) -> None:
    url, total = f"/flash/v1/artifacts/{MANIFEST.id}", len(ARTIFACT)

    async def put(first: int, last: int) -> httpx.Response:
        headers = {"Content-Range": f"bytes {first}-{last}/{total}"}
        return await plane.client.put(url, content=ARTIFACT[first : last + 1], headers=headers)

    assert "upload-offset" not in (await plane.client.head(url)).headers
    first = await put(0, 9)
    assert (first.status_code, first.json()) == (202, {"received": 10})
    head = await plane.client.head(url)
    assert (head.status_code, head.headers["upload-offset"]) == (404, "10")
    beyond = await put(11, 20)
    assert (beyond.status_code, beyond.headers["upload-offset"]) == (409, "10")
    last = await put(10, total - 1)
    assert (last.status_code, last.json()) == (201, {"id": MANIFEST.id, "size": total})
    assert plane.blobs.read_artifact(MANIFEST.id) == ARTIFACT
    odd = await plane.client.put(url, content=b"x", headers={"Content-Range": "bytes */1"})
    assert (odd.status_code, odd.json()["code"]) == (422, "ShippingError")


async def test_what_is_refused(plane: PlaneApp) -> None:
    cases: list[tuple[str, bytes, int, str]] = [
        (f"values/{SHA}", b"other", 422, "ShippingError"),
        ("values/short", b"x", 422, "ShippingError"),
        (f"values/{SHA}", b"x" * 3_000_001, 413, "PayloadTooLarge"),
        (f"artifacts/{SHA}", ARTIFACT, 422, "ShippingError"),
        (f"artifacts/{SHA}", b"no zip", 422, "ShippingError"),
        (f"artifacts/{SHA}", b"x" * 50_001, 413, "PayloadTooLarge"),
    ]
    for path, content, status, code in cases:
        response = await plane.client.put(f"/flash/v1/{path}", content=content)
        assert (response.status_code, response.json()["code"]) == (status, code)
    assert not plane.blobs.has(SHA)


async def test_logs_instances_and_status(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    job = (await plane.client.post(f"/v2/{endpoint}/run", json={"input": {"x": 1}})).json()["id"]
    logs = await plane.client.get(f"/flash/v1/jobs/{job}/logs")
    assert logs.json() == {"lines": [{"stream": "stdout", "line": "hello"}]}
    assert (await plane.client.get("/flash/v1/jobs/unknown/logs")).status_code == 404
    dropped = await plane.client.delete("/flash/v1/instances/i1")
    assert (dropped.status_code, dropped.content, plane.platform.dropped) == (204, b"", ["i1"])
    shown = (await plane.client.get("/flash/v1/status")).json()
    url = f"http://plane/v2/{endpoint}"
    endpoints = [{"id": endpoint, "type": "QUEUE", "url": url}]
    assert shown == {"jobs": 1, "endpoints": endpoints, "disk": {"used": 1}, "user": ""}


@pytest.mark.parametrize("client", ["", "c" * 256, "bob/c"])
async def test_a_stream_needs_a_client(plane: PlaneApp, client: str) -> None:
    response = await plane.client.get("/flash/v1/events", params={"client": client})
    assert response.status_code == 400


async def events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        yield json.loads(line)


async def test_events_arrive_as_they_happen_and_streams_end_with_the_server(plane: PlaneApp) -> None:
    async with served(plane) as client, client.stream("GET", "/flash/v1/events?client=a") as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        heard = events(response)
        assert await anext(heard) == {"event": "hello", "client": "a", "protocol": 1}
        for number in range(3):
            plane.hub.publish("a", {"event": "job", "job": {"id": number, "output": "ä" * 100_000}})
            assert (await anext(heard))["job"]["id"] == number
        plane.hub.close()
        with pytest.raises(StopAsyncIteration):
            await anext(heard)


async def test_a_client_that_goes_away_is_noticed(plane: PlaneApp) -> None:
    async with served(plane) as client:
        async with client.stream("GET", "/flash/v1/events?client=a") as response:
            await anext(events(response))
            assert plane.hub.clients == {"a"}
        await asyncio.to_thread(wait_until, lambda: not plane.hub.clients)


async def test_a_value_that_breaks_off_leaves_nothing(plane: PlaneApp) -> None:
    async with served(plane) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        key = client.headers["Authorization"]
        head = f"PUT /flash/v1/values/{SHA} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n"
        writer.write(f"{head}Content-Length: {len(DATA)}\r\n\r\n".encode() + DATA[:1_200_000])
        await writer.drain()
        incoming = plane.blobs._root / "incoming"
        await asyncio.to_thread(wait_until, lambda: any(incoming.glob("*")))
        writer.close()
        await asyncio.to_thread(wait_until, lambda: not any(incoming.glob("*")))
        await reader.read()
        assert not plane.blobs.has(SHA)


async def test_who_may_put_and_drop(plane: PlaneApp) -> None:
    endpoint = (await plane.catalog.create("", BODY, "alice")).id
    async with (
        await plane.user("alice", Scope.READ_ONLY) as looker,
        await plane.user("alice", Scope.ENDPOINT, [endpoint]) as narrow,
        plane.worker("alice") as worker,
    ):
        statuses = []
        for user in (looker, narrow, worker):
            put = [await user.put(f"/flash/v1/{kind}/{SHA}", content=b"?") for kind in ("values", "artifacts")]
            dropped = await user.delete("/flash/v1/instances/i")
            statuses.append([answer.status_code for answer in (*put, dropped)])
        assert statuses == [[403, 403, 403], [422, 403, 204], [422, 422, 204]]
    assert plane.platform.dropped == ["i", "i"]


async def test_status_and_logs_are_those_of_the_user(plane: PlaneApp) -> None:
    mine = await plane.endpoint()
    job = (await plane.client.post(f"/v2/{mine}/run", json={"input": {"x": 1}})).json()["id"]
    async with await plane.user("alice") as alice, plane.worker() as worker:
        assert (await alice.get("/flash/v1/status")).json() == {"jobs": 0, "endpoints": [], "user": "alice"}
        shown = (await worker.get("/flash/v1/status")).json()
        assert (shown["jobs"], [each["id"] for each in shown["endpoints"]]) == (1, [mine])
        refused, unknown = [await alice.get(f"/flash/v1/jobs/{name}/logs") for name in (job, "gone")]
        assert refused.status_code == 404
        assert refused.json() == {**unknown.json(), "detail": unknown.json()["detail"].replace("gone", job)}


async def test_nobody_hears_anothers_events(plane: PlaneApp) -> None:
    async with served(plane) as client:
        _, key = await plane.keys.create("alice")
        streams = [{}, {"Authorization": key}]
        async with (
            client.stream("GET", "/flash/v1/events?client=c", headers=streams[0]) as mine,
            client.stream("GET", "/flash/v1/events?client=c", headers=streams[1]) as hers,
        ):
            heard = [answer.aiter_lines() for answer in (mine, hers)]
            assert [json.loads(await anext(lines))["client"] for lines in heard] == ["c", "c"]
            assert plane.hub.clients == {"c", "alice/c"}
            plane.hub.publish("alice/c", {"event": "notice", "n": 1})
            plane.hub.publish("c", {"event": "notice", "n": 2})
            assert [json.loads(await anext(lines))["n"] for lines in heard] == [2, 1]
