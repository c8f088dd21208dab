"""Network volumes over HTTP: made, listed, changed, deleted, attached; whose they are and who may."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from runpod_flash.control_plane.principals import Scope
from tests.support.plane_app import BODY, PlaneApp

pytestmark = pytest.mark.anyio

WANTED: dict[str, Any] = {"name": "models", "size": 10, "dataCenter": "EU-RO-1"}


async def made(client: httpx.AsyncClient, project: str | None = None, **changes: Any) -> str:
    """A new volume; its id."""
    headers = {} if project is None else {"X-Flash-Project": quote(project)}
    answer = await client.post("/v2/network-volumes", json={**WANTED, **changes}, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def attached(client: httpx.AsyncClient, *volumes: str, **changes: Any) -> httpx.Response:
    """The answer to a new endpoint that has these volumes."""
    return await client.post("/v2/serverless", json={**BODY, "networkVolumes": list(volumes), **changes})


async def test_what_is_made_is_shown_as_published(plane: PlaneApp) -> None:
    answer = await plane.client.post("/v2/network-volumes", json={**WANTED, "type": "HIGH_PERFORMANCE"})
    shown = answer.json()
    assert (answer.status_code, shown) == (201, {**WANTED, "id": shown["id"], "type": "STANDARD"})
    assert (await plane.client.get(f"/v2/network-volumes/{shown['id']}")).json() == shown
    assert (await plane.client.get("/v2/network-volumes")).json() == {"networkVolumes": [shown]}


async def test_names_belong_to_a_project_and_a_data_center(plane: PlaneApp) -> None:
    first = await made(plane.client, "/a ü")
    ids = [first, await made(plane.client, "/a ü", dataCenter="US-GA-2"), await made(plane.client)]
    refused = await plane.client.post("/v2/network-volumes", json=WANTED, headers={"X-Flash-Project": quote("/a ü")})
    assert refused.status_code == 409
    assert f"a network volume 'models' in EU-RO-1 already, with id {first}" in refused.json()["detail"]
    listed = (await plane.client.get("/v2/network-volumes", headers={"X-Flash-Project": quote("/a ü")})).json()
    assert [each["id"] for each in listed["networkVolumes"]] == ids[:2]
    assert len((await plane.client.get("/v2/network-volumes")).json()["networkVolumes"]) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 9}, "$.size: Input should be greater than or equal to 10"),
        ({"size": 4097}, "$.size: Input should be less than or equal to 4096"),
        ({"size": "100"}, "$.size: Input should be a valid integer"),
        ({"dataCenter": "eu-ro-1"}, "$.dataCenter: String should match pattern"),
        ({"name": ""}, "$.name: String should have at least 1 character"),
        ({"name": " "}, "$.name: it must be text without control characters, and not blank"),
        ({"name": "a\nb"}, "$.name: it must be text without control characters"),
        ({"sizes": 1}, "$: additional properties 'sizes' not allowed"),
        ({"type": "FAST"}, "$.type: Input should be 'STANDARD' or 'HIGH_PERFORMANCE'"),
    ],
)
async def test_wrong_values_are_refused_by_name(plane: PlaneApp, change: dict[str, Any], said: str) -> None:
    answer = await plane.client.post("/v2/network-volumes", json={**WANTED, **change})
    assert (answer.status_code, answer.json()["code"]) == (422, "ConfigError")
    assert said in answer.json()["errors"][0]
    assert (await plane.client.get("/v2/network-volumes")).json()["networkVolumes"] == []


async def test_it_grows_and_is_renamed(plane: PlaneApp) -> None:
    path = f"/v2/network-volumes/{await made(plane.client)}"
    changed = (await plane.client.patch(path, json={"size": 20, "name": "weights"})).json()
    assert (changed["size"], changed["name"], changed["dataCenter"]) == (20, "weights", "EU-RO-1")
    assert (await plane.client.patch(path, json={"size": None})).json() == changed
    smaller = await plane.client.patch(path, json={"size": 10})
    assert (smaller.status_code, "a volume only grows" in smaller.json()["detail"]) == (422, True)
    assert (await plane.client.patch(path, json={"dataCenter": "US-GA-2"})).status_code == 422


async def test_it_is_deleted_but_not_while_an_endpoint_has_it(plane: PlaneApp) -> None:
    volume = await made(plane.client)
    endpoint = (await attached(plane.client, volume)).json()["id"]
    path = f"/v2/network-volumes/{volume}"
    refused = await plane.client.delete(path)
    assert (refused.status_code, "is used by endpoint 'palette'" in refused.json()["detail"]) == (409, True)
    await plane.client.patch(f"/v2/serverless/{endpoint}", json={"networkVolumes": []})
    assert (await plane.client.delete(path)).status_code == 204
    for answer in (await plane.client.get(path), await plane.client.delete(path)):
        assert (answer.status_code, answer.json()["code"]) == (404, "VolumeNotFound")


async def test_each_user_has_their_own(plane: PlaneApp) -> None:
    ada, bob = await plane.user("ada"), await plane.user("bob")
    hers, his, mine = await made(ada), await made(bob), await made(plane.client)
    assert [each["id"] for each in (await ada.get("/v2/network-volumes")).json()["networkVolumes"]] == [hers]
    for method in ("GET", "PATCH", "DELETE"):
        other = await bob.request(method, f"/v2/network-volumes/{hers}", json={} if method == "PATCH" else None)
        unknown = await bob.request(method, "/v2/network-volumes/0000000000", json={} if method == "PATCH" else None)
        assert other.status_code == 404
        assert other.text == unknown.text.replace("0000000000", hers)
    assert (await plane.client.get(f"/v2/network-volumes/{hers}")).status_code == 200  # the owner of the plane
    assert (await attached(ada, hers)).status_code == 201
    for theirs in (his, mine):
        refused = await attached(ada, theirs, name="other")
        assert (refused.status_code, refused.json()["errors"]) == (
            422, [f"$.networkVolumes[0]: there is no network volume '{theirs}'; it may have been deleted"],
        )  # fmt: skip


async def test_what_a_key_is_for(plane: PlaneApp) -> None:
    full = await plane.user("ada")
    volume, endpoint = await made(full), await plane.endpoint(name="x")
    reader = await plane.user("ada", Scope.READ_ONLY)
    assert (await reader.get(f"/v2/network-volumes/{volume}")).status_code == 200
    assert (await reader.post("/v2/network-volumes", json=WANTED)).status_code == 403
    assert (await reader.delete(f"/v2/network-volumes/{volume}")).status_code == 403
    endpoint = str((await attached(full, volume)).json()["id"])
    single = await plane.user("ada", Scope.ENDPOINT, [endpoint])
    assert (await single.get("/v2/network-volumes")).json() == {"networkVolumes": []}
    assert (await single.get(f"/v2/network-volumes/{volume}")).status_code == 404


async def test_a_worker_s_code_changes_those_of_its_project_only(plane: PlaneApp) -> None:
    inside, outside = await made(plane.client, "/p"), await made(plane.client, "/q")
    worker = plane.worker(project="/p")
    assert (await worker.patch(f"/v2/network-volumes/{inside}", json={"size": 11})).status_code == 200
    refused = await worker.patch(f"/v2/network-volumes/{outside}", json={"size": 11})
    assert (refused.status_code, "its own project only" in refused.json()["detail"]) == (403, True)
    assert (await worker.get(f"/v2/network-volumes/{outside}")).status_code == 200
    own = {"X-Flash-Project": "/p"}
    assert (await worker.post("/v2/network-volumes", json={**WANTED, "name": "n"}, headers=own)).status_code == 201
    assert (await worker.post("/v2/network-volumes", json=WANTED)).status_code == 403
    body = {**BODY, "networkVolumes": [outside]}
    assert (await worker.post("/v2/serverless", json=body, headers=own)).status_code == 422


async def test_an_endpoint_has_one_volume_in_each_of_its_data_centers(plane: PlaneApp) -> None:
    eu, us = await made(plane.client), await made(plane.client, dataCenter="US-GA-2")
    other = await made(plane.client, name="other")
    several = (await attached(plane.client, eu, us)).json()
    assert several["networkVolumes"] == [eu, us]
    twice = await attached(plane.client, eu, other, name="twice")
    said = "volume 'other' is in EU-RO-1, as 'models' is; an endpoint has one volume in each data center"
    assert (twice.status_code, twice.json()["errors"]) == (422, [f"$.networkVolumes[1]: {said}"])
    elsewhere = await attached(plane.client, us, eu, name="elsewhere", dataCenterIds=["EU-RO-1"])
    assert elsewhere.json()["errors"] == [
        "$.networkVolumes[0]: volume 'models' is in US-GA-2, and the endpoint in EU-RO-1 only"
    ]
    path = f"/v2/serverless/{several['id']}"
    assert (await plane.client.patch(path, json={"dataCenterIds": ["EU-RO-1"]})).status_code == 422
    assert (await plane.client.patch(path, json={"networkVolumes": ["0000000000"]})).status_code == 422
    assert (await plane.client.get(path)).json()["networkVolumes"] == [eu, us]


async def test_an_endpoint_whose_volume_has_gone_can_still_be_changed(plane: PlaneApp) -> None:
    volume = await made(plane.client)
    endpoint = (await attached(plane.client, volume)).json()["id"]
    plane.files.volumes.users = lambda volume_id: []  # as for one that another version of the package deletes
    await plane.client.delete(f"/v2/network-volumes/{volume}")
    path = f"/v2/serverless/{endpoint}"
    assert (await plane.client.patch(path, json={"workers": {"max": 5}})).status_code == 200
    assert (await plane.client.patch(path, json={"networkVolumes": [volume, volume]})).status_code == 422
