"""Which paths are the job API's: found by a table, and what is said of all others stays as it was."""

import pytest

from tests.support.plane_app import PlaneApp

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("run", {"POST"}),
        ("cancel/j", {"POST"}),
        ("status/j", {"GET", "HEAD", "POST"}),
        ("health", {"GET", "HEAD"}),
    ],
)
async def test_other_methods_are_told_which_there_are(plane: PlaneApp, path: str, allowed: set[str]) -> None:
    endpoint = await plane.endpoint()
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - allowed:
        answer = await plane.client.request(method, f"/v2/{endpoint}/{path}")
        assert (answer.status_code, answer.json()["title"]) == (405, "Method Not Allowed"), method
        assert set(answer.headers["allow"].split(", ")) == allowed


async def test_head_is_asked_like_get(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    head, get = [await plane.client.request(method, f"/v2/{endpoint}/health") for method in ("HEAD", "GET")]
    assert (head.status_code, head.headers) == (get.status_code, get.headers)
    assert (await plane.client.head("/v2/unknown/health")).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/v2//run", "/v2/{}/run/", "/v2/{}/run/x", "/v2/{}/status", "/v2/{}/status/", "/v2/{}/status/a/b", "/v3/{}/run",
     "/x/v2/{}/run", "/v2/{}/nothing"],
)  # fmt: skip
async def test_a_path_is_one_place(plane: PlaneApp, path: str) -> None:
    endpoint = await plane.endpoint()
    answer = await plane.client.post(path.format(endpoint), json={"input": {"x": 1}})
    assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")


async def test_names_that_are_no_endpoints_keep_their_own_routes(plane: PlaneApp) -> None:
    await plane.endpoint()
    for name in ("health", "requests", "metrics"):  # could be the id of an endpoint
        answer = await plane.client.get(f"/v2/serverless/{name}")
        assert (answer.status_code, answer.json()["code"]) == (404, "EndpointNotFound")
        assert repr(name) in answer.json()["detail"]
    assert (await plane.client.delete("/v2/serverless/run")).json()["code"] == "EndpointNotFound"
    answer = await plane.client.post("/v2/serverless/run", json={"input": {"x": 1}})
    assert "no endpoint 'serverless'" in answer.json()["detail"]
    assert (await plane.client.get("/v2/network-volumes/health")).status_code == 404


async def test_ids_may_be_escaped(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    job = (await plane.client.post(f"/v2/{endpoint}/run", json={"input": {"x": 1}})).json()["id"]
    escaped = "".join(f"%{ord(letter):02x}" for letter in job)
    assert (await plane.client.get(f"/v2/{endpoint}/status/{escaped}")).json()["id"] == job
