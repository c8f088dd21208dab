"""Files of network volumes over HTTP."""

import os
from typing import Any

import httpx
import pytest

from runpod_flash.control_plane.principals import Scope
from runpod_flash.control_plane.volume_files import GB
from tests.runpod_flash.control_plane.api.test_network_volumes import made
from tests.support.plane_app import PlaneApp, plane_app, served

pytestmark = pytest.mark.anyio


def file(volume: str, path: str | None) -> dict[str, Any]:
    """URL and query of a file."""
    return {"url": f"/flash/v1/volumes/{volume}/file", "params": {} if path is None else {"path": path}}


async def put(client: httpx.AsyncClient, volume: str, path: str, data: bytes = b"x") -> httpx.Response:
    return await client.request("PUT", **file(volume, path), content=data)


async def test_a_file_there_and_back(plane: PlaneApp) -> None:
    volume, data = await made(plane.client), os.urandom(2_500_000)
    answer = await put(plane.client, volume, "/a/b.bin", data)
    assert (answer.status_code, answer.json()) == (201, {"path": "/a/b.bin", "size": len(data)})
    got = await plane.client.request("GET", **file(volume, "a/b.bin"))
    assert (got.content, got.headers["Content-Length"]) == (data, str(len(data)))
    assert (await plane.client.get(f"/flash/v1/volumes/{volume}")).json() == {
        "id": volume, "name": "models", "size": 10 * GB, "used": len(data),
    }  # fmt: skip
    listed = (await plane.client.get(f"/flash/v1/volumes/{volume}/files", params={"path": "a"})).json()
    entry = listed["entries"][0]
    assert (listed["kind"], listed["more"], entry["name"], entry["kind"]) == ("folder", False, "b.bin", "file")
    assert (await plane.client.request("DELETE", **file(volume, "a"))).status_code == 204
    assert (await plane.client.get(f"/flash/v1/volumes/{volume}/files")).json()["entries"] == []


async def test_folders_are_made(plane: PlaneApp) -> None:
    volume = await made(plane.client)
    answer = await plane.client.put(f"/flash/v1/volumes/{volume}/folder", params={"path": "a/b"})
    assert answer.status_code == 204
    assert (plane.files.volumes.files(volume) / "a" / "b").is_dir()


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        (None, 400, "query parameter 'path' is missing"),
        ("../key", 422, "leads out of the network volume"),
        ("/etc/../../key", 404, "has no '/etc/../../key'"),
        ("out/passwd", 422, "leads out of the network volume"),
        ("nothing", 404, "volume 'models' has no 'nothing'"),
        ("a\0", 422, "no zero character"),
        ("", 422, "is a folder"),
        ("x" * 5000, 422, "at most 1024"),
    ],
)
async def test_paths_that_lead_nowhere(plane: PlaneApp, path: str | None, status: int, said: str) -> None:
    volume = await made(plane.client)
    (plane.files.volumes.files(volume) / "out").symlink_to("/etc")
    answer = await plane.client.request("GET", **file(volume, path))
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text


async def test_who_may_look_may_not_change_and_others_see_nothing(plane: PlaneApp) -> None:
    ada, bob = await plane.user("ada"), await plane.user("bob")
    reader = await plane.user("ada", Scope.READ_ONLY)
    volume = await made(ada)
    assert (await put(ada, volume, "a")).status_code == 201
    assert (await reader.request("GET", **file(volume, "a"))).content == b"x"
    assert (await put(reader, volume, "a", b"y")).status_code == 403
    assert (await reader.request("DELETE", **file(volume, "a"))).status_code == 403
    assert (await reader.put(f"/flash/v1/volumes/{volume}/folder", params={"path": "f"})).status_code == 403
    for method in ("GET", "PUT", "DELETE"):
        assert (await bob.request(method, **file(volume, "a"))).status_code == 404
    assert (await bob.get(f"/flash/v1/volumes/{volume}")).status_code == 404
    assert (await bob.get(f"/flash/v1/volumes/{volume}/files")).status_code == 404
    assert (await ada.request("GET", **file(volume, "a"))).content == b"x"


async def test_a_worker_s_code_writes_to_those_of_its_project_only(plane: PlaneApp) -> None:
    inside, outside = await made(plane.client, "/p"), await made(plane.client, "/q")
    worker = plane.worker(project="/p")
    assert (await put(worker, inside, "a")).status_code == 201
    assert (await put(worker, outside, "a")).status_code == 403


async def test_a_refused_upload_is_answered_before_its_client_has_sent_all(plane: PlaneApp) -> None:
    volume = await made(plane.client)
    with (plane.files.volumes.files(volume) / "huge").open("wb") as huge:
        huge.truncate(10 * GB)
    async with served(plane) as client:
        answer = await put(client, volume, "more", bytes(20_000_000))
        assert (answer.status_code, answer.json()["code"]) == (413, "PayloadTooLarge")
        assert "has room for 0 bytes more" in answer.json()["detail"]


async def test_they_are_off_with_the_published_api_alone(tmp_path: Any) -> None:
    async with plane_app(tmp_path, published_only=True) as plane:
        volume = await made(plane.client)
        assert (await plane.client.get(f"/flash/v1/volumes/{volume}")).status_code == 404
        assert (await plane.client.get(f"/v2/network-volumes/{volume}")).status_code == 200
