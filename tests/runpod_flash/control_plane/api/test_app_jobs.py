"""Jobs of endpoints that headers name, as clients of Flash ask for them."""

import pytest

from tests.support.plane_app import BODY, PlaneApp

pytestmark = pytest.mark.anyio

NAMES = {"X-Flash-App": "shop", "X-Flash-Environment": "production", "X-Flash-Endpoint": "palette"}


@pytest.fixture
async def endpoint(plane: PlaneApp) -> str:
    """The id of an endpoint of an app."""
    stage = await plane.deploys.apps.create_stage("", "shop", "production")
    return (await plane.catalog.create(stage.scope, BODY)).id


async def test_a_job_is_run_asked_for_and_cancelled_by_names(plane: PlaneApp, endpoint: str) -> None:
    run = await plane.client.post("/v2/flash/run", json={"input": {"x": 1}}, headers=NAMES)
    job = run.json()["id"]
    assert plane.platform.jobs[job].endpoint == endpoint
    assert (await plane.client.get(f"/v2/flash/status/{job}", headers=NAMES)).json()["status"] == "IN_QUEUE"
    assert (await plane.client.get(f"/v2/{endpoint}/status/{job}")).json()["id"] == job
    assert (await plane.client.post(f"/v2/flash/cancel/{job}", headers=NAMES)).json()["status"] == "CANCELLED"
    sync = await plane.client.post("/v2/flash/runsync?wait=1000", json={"input": {"x": 1}}, headers=NAMES)
    assert (sync.status_code, sync.json()["status"]) == (200, "IN_QUEUE")


@pytest.mark.parametrize(
    ("name", "value", "status", "words"),
    [
        ("X-Flash-App", None, 400, "header X-Flash-App is missing"),
        ("X-Flash-App", "shopp", 404, "did you mean 'shop'"),
        ("X-Flash-Environment", "prod", 404, "did you mean 'production'"),
        ("X-Flash-Endpoint", "pallette", 404, "did you mean 'palette'"),
        ("X-Flash-Endpoint", "zzz", 404, "there is palette"),
    ],
)
async def test_names_that_are_not_there_are_said(
    plane: PlaneApp, endpoint: str, name: str, value: str | None, status: int, words: str
) -> None:
    given = {key: text for key, text in {**NAMES, name: value}.items() if text is not None}
    refused = await plane.client.post("/v2/flash/run", json={"input": {"x": 1}}, headers=given)
    assert (refused.status_code, words in refused.json()["detail"]) == (status, True), refused.text


async def test_apps_of_others_are_not_there(plane: PlaneApp, endpoint: str) -> None:
    async with await plane.user("ada") as ada:
        assert (await ada.post("/v2/flash/run", json={"input": {"x": 1}}, headers=NAMES)).status_code == 404
