"""What holds for all routes: the key, problems for errors, nothing of the inside in an answer."""

from pathlib import Path

import httpx
import pytest

from runpod_flash.control_plane.principals import Pickles
from tests.support.plane_app import KEY, PlaneApp, plane_app

pytestmark = pytest.mark.anyio

ROUTES = [
    ("GET", "/v2/serverless"),
    ("DELETE", "/v2/serverless/x"),
    ("POST", "/v2/x/run"),
    ("GET", "/v2/x/health"),
    ("GET", "/flash/v1/capabilities"),
    ("GET", "/flash/v1/events?client=a"),
    ("PUT", "/flash/v1/values/x"),
    ("POST", "/flash/v1/jobs/watch"),
    ("POST", "/flash/v1/jobs/find"),
    ("GET", "/flash/v1/jobs/x"),
    ("POST", "/flash/v1/keys"),
    ("DELETE", "/flash/v1/keys/x"),
    ("GET", "/docsx"),
    ("GET", "/openapi.json/"),
    ("GET", "/nowhere"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("given", [None, "Bearer wrong", "wrong"])
async def test_nothing_answers_without_the_key(plane: PlaneApp, method: str, path: str, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(plane.app), base_url="http://plane") as stranger:
        response = await stranger.request(method, path, headers=headers)
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    detail = "no token provided" if given is None else "invalid api key"
    assert response.json() == {"status": 401, "title": "Unauthorized", "detail": detail, "code": "AuthError"}


async def test_each_is_told_whether_their_pickles_are_loaded(tmp_path: Path) -> None:
    async with plane_app(tmp_path, pickles=Pickles.OWNER) as plane, plane.worker("alice") as alice:
        assert (await plane.client.get("/flash/v1/capabilities")).json()["pickles"] is True
        assert (await alice.get("/flash/v1/capabilities")).json()["pickles"] is False


async def test_the_bare_key_will_do(plane: PlaneApp) -> None:
    response = await plane.client.get("/flash/v1/capabilities", headers={"Authorization": KEY})
    assert response.json() == {"protocol": 1, "gpus": [], "pickles": True, "calls": True}


async def test_unknown_routes_and_methods_are_problems(plane: PlaneApp) -> None:
    unknown = await plane.client.get("/nowhere")
    assert (unknown.status_code, unknown.json()["title"]) == (404, "Not Found")
    wrong = await plane.client.delete("/flash/v1/capabilities")
    assert wrong.status_code == wrong.json()["status"] == 405
    assert "GET" in wrong.headers["allow"]


async def test_the_published_api_alone_has_nothing_below_flash(tmp_path: Path) -> None:
    async with plane_app(tmp_path, published_only=True) as plane:
        for method, path in ROUTES:
            if path.startswith("/flash/"):
                response = await plane.client.request(method, path)
                assert (response.status_code, response.json()["title"]) == (404, "Not Found"), path
        endpoint = await plane.endpoint()
        assert (await plane.client.post(f"/v2/{endpoint}/run", json={"input": {"x": 1}})).status_code == 200


async def test_an_unexpected_failure_shows_nothing(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    plane.platform.fault = ZeroDivisionError("secret detail")
    response = await plane.client.get(f"/v2/{endpoint}/health")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text
