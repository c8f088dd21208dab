"""Logins over HTTP: two requests need no key, the rest is the owner's."""

import httpx
import pytest

from runpod_flash.control_plane.logins import MOST_OF_ONE
from tests.support.plane_app import PlaneApp, client_of

pytestmark = pytest.mark.anyio


def stranger(plane: PlaneApp) -> httpx.AsyncClient:
    """A client without a key."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(plane.app), base_url="http://plane")


async def test_asked_approved_claimed(plane: PlaneApp) -> None:
    async with stranger(plane) as client:
        asked = await client.post("/flash/v1/logins", json={"label": "ada on laptop"})
        assert (asked.status_code, asked.json()["expiresIn"]) == (201, 600)
        code, secret = asked.json()["code"], {"secret": asked.json()["secret"]}
        waiting = await client.post("/flash/v1/logins/claim", json=secret)
        assert (waiting.status_code, waiting.json()) == (202, {"state": "waiting"})
        (listed,) = (await plane.client.get("/flash/v1/logins")).json()["logins"]
        assert (listed["code"], listed["label"], listed["address"]) == (code, "ada on laptop", "127.0.0.1")
        approved = await plane.client.post(f"/flash/v1/logins/{code}/approve", json={"user": "ada", "name": "hers"})
        assert (approved.status_code, approved.json()["code"]) == (200, code)
        claimed = await client.post("/flash/v1/logins/claim", json=secret)
        assert (claimed.status_code, claimed.json()["user"], claimed.json()["scope"]) == (200, "ada", "full")
        assert (await client.post("/flash/v1/logins/claim", json=secret)).status_code == 404
    async with client_of(plane.app, claimed.json()["key"]) as ada:
        assert (await ada.get("/v2/serverless")).status_code == 200
    (key,) = (await plane.client.get("/flash/v1/keys")).json()["keys"]
    assert (key["user"], key["name"]) == ("ada", "hers")


async def test_denied(plane: PlaneApp) -> None:
    async with stranger(plane) as client:
        asked = (await client.post("/flash/v1/logins", json={"label": "x"})).json()
        assert (await plane.client.delete(f"/flash/v1/logins/{asked['code']}")).status_code == 204
        refused = await client.post("/flash/v1/logins/claim", json={"secret": asked["secret"]})
    assert (refused.status_code, refused.json()["code"]) == (403, "AuthError")


async def test_only_the_owner_answers(plane: PlaneApp) -> None:
    async with stranger(plane) as nobody, await plane.user("alice") as alice, plane.worker() as worker:
        code = (await nobody.post("/flash/v1/logins", json={"label": "x"})).json()["code"]
        for client, status in ((nobody, 401), (alice, 403), (worker, 403)):
            for answer in (
                await client.get("/flash/v1/logins"),
                await client.post(f"/flash/v1/logins/{code}/approve", json={"user": "alice"}),
                await client.delete(f"/flash/v1/logins/{code}"),
            ):
                assert (answer.status_code, answer.json()["code"]) == (status, "AuthError")
    assert len((await plane.client.get("/flash/v1/logins")).json()["logins"]) == 1


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("", {}, "'label' is missing"),
        ("", {"label": 5}, "field 'label' is 5"),
        ("", {"label": "x" * 101}, "field 'label'"),
        ("", {"label": "a\x1b[31m"}, "printable"),
        ("", {"label": "a", "user": "root"}, "there is no field 'user'"),
        ("/claim", {}, "'secret' is missing"),
        ("/claim", {"secret": None}, "field 'secret' is None"),
    ],
)
async def test_what_is_wrong_is_named(plane: PlaneApp, path: str, body: dict[str, object], said: str) -> None:
    async with stranger(plane) as client:
        answer = await client.post(f"/flash/v1/logins{path}", json=body)
    assert (answer.status_code, said in answer.json()["detail"]) == (400, True), answer.text


async def test_an_address_asks_so_often(plane: PlaneApp) -> None:
    async with stranger(plane) as client:
        statuses = [
            (await client.post("/flash/v1/logins", json={"label": "x"})).status_code for _ in range(MOST_OF_ONE + 1)
        ]
    assert statuses == [201] * MOST_OF_ONE + [429]
