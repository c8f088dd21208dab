"""Apps, their stages and deploys, over the real control plane and real workers."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from runpod_flash.backends.base import AppStore
from runpod_flash.errors import AppNotFound, BackendUnavailable, ConfigError, NameTaken, StageMoved, StageNotFound
from tests.support.app_plane import manifest, pages, with_apps
from tests.support.deployments import SHOP, Project
from tests.support.newer import newer_version
from tests.support.place import Place
from tests.support.plane_api import control_plane, plane_client, plane_folder, plane_record
from tests.support.waiting import wait_until


def test_a_stage_is_deployed_to_called_rolled_back_and_removed(shared_place: Place) -> None:
    async def first(apps: AppStore) -> Any:
        await apps.create_stage("shop", "production", label="the real one")
        with pytest.raises(NameTaken, match="production"):
            await apps.create_stage("shop", "production")
        heard = list[Any]()
        done = await apps.deploy(
            "shop", "production", manifest(pages("a", "one"), pages("b", "b")), base=0, on_progress=heard.append
        )
        assert [change["change"] for change in done["changes"]] == ["create", "create"]
        assert [event["event"] for event in heard] == ["preparing", "preparing", "changing", "changing"]
        with pytest.raises(StageMoved, match="version 1 by now"):
            await apps.deploy("shop", "production", manifest(pages("a", "two")), base=0)
        with pytest.raises(ConfigError, match=r"endpoint 'a'.*min"):
            await apps.deploy("shop", "production", manifest(pages("a", "x", workers={"min": 2, "max": 1})), base=1)
        return done["stage"]["endpoints"]

    a, b = with_apps(shared_place, first)
    with plane_client(shared_place) as client:
        assert client.get(f"/lb/{a['id']}/page").text.split() == ["one", "shop", "production"]
        status = {each["id"]: each for each in client.get("/flash/v1/status").json()["endpoints"]}
        assert [status[a["id"]][name] for name in ("app", "stage", "expiresAt")] == ["shop", "production", None]
        assert client.delete(f"/v2/serverless/{a['id']}").status_code == 409

    async def second(apps: AppStore) -> None:
        done = await apps.deploy("shop", "production", manifest(pages("a", "two")), base=1, prune=True)
        assert {each["endpoint"]: each["change"] for each in done["changes"]} == {"a": "roll", "b": "remove"}
        assert (await apps.stage("shop", "production"))["manifest"]["endpoints"][0]["name"] == "a"

    with_apps(shared_place, second)
    with plane_client(shared_place) as client:
        assert client.get(f"/v2/serverless/{a['id']}").json()["command"].count("two") == 1
        assert client.get(f"/v2/serverless/{b['id']}").status_code == 404

    async def third(apps: AppStore) -> None:
        back = await apps.roll_back("shop", "production")
        assert (back["version"], [each["change"] for each in back["changes"]]) == (1, ["roll", "create"])
        assert [app["name"] for app in await apps.all()] == ["shop"]
        with pytest.raises(StageNotFound, match="did you mean 'production'"):
            await apps.stage("shop", "prod")
        await apps.delete("shop")
        with pytest.raises(AppNotFound):
            await apps.get("shop")

    with_apps(shared_place, third)
    with plane_client(shared_place) as client:
        assert client.get(f"/v2/serverless/{a['id']}").status_code == 404


def url_of(place: Place, app: str = "shop", stage: str = "production", name: str = "a") -> str:
    async def look(apps: AppStore) -> Any:
        return (await apps.stage(app, stage))["endpoints"]

    return next(str(each["url"]) for each in with_apps(place, look) if each["name"] == name)


def page(place: Place, url: str) -> str:
    key = (plane_folder(place) / "key").read_text().strip()
    answer = httpx.get(f"{url}/page", headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=60)
    return answer.text.split()[0]


def deployed(place: Place, what: Mapping[str, Any], base: int = 0) -> Any:
    async def deploy(apps: AppStore) -> Any:
        if base == 0:
            await apps.create_stage("shop", "production")
        return await apps.deploy("shop", "production", what, base=base)

    return with_apps(place, deploy)


@pytest.mark.slow
def test_the_control_plane_stays_for_a_stage_and_is_found_at_the_same_place_after_a_restart(place: Place) -> None:
    place.flash("server", "start", env={"FLASH_IDLE_EXIT_S": "0.4"}).good()
    deployed(place, manifest(pages("a", "one")))
    url = url_of(place)
    plane = control_plane(place)
    with pytest.raises(psutil.TimeoutExpired):
        plane.wait(3)  # many times its idle time
    assert page(place, url) == "one"
    place.flash("server", "stop").good()
    place.flash("server", "start", env={"FLASH_IDLE_EXIT_S": "0.4"}).good()
    assert page(place, url) == "one"

    async def remove(apps: AppStore) -> None:
        await apps.delete_stage("shop", "production")

    plane = control_plane(place)
    with_apps(place, remove)
    assert plane.wait(30) is None, "nothing keeps it any more"


def serves(place: Place, pid: int) -> bool:
    """Whether this process is the control plane, and serves."""
    try:
        record = plane_record(place)
    except FileNotFoundError:
        return False
    return (record["pid"], record["state"]) == (pid, "serving")


KILLED = """
import asyncio, sys
from pathlib import Path
from runpod_flash.control_plane import catalog
from runpod_flash.control_plane.__main__ import main
create, made, reached = catalog.Catalog.create, 0, Path(sys.argv[1])

async def slow(self, *args, **more):
    global made
    made += 1
    if made == 3:
        reached.touch()
        await asyncio.sleep(60)
    return await create(self, *args, **more)

catalog.Catalog.create = slow
main()
"""


@pytest.mark.slow
def test_a_deploy_that_was_killed_is_completed_by_the_next(place: Place) -> None:
    deployed(place, manifest(pages("a", "one")))
    place.flash("server", "stop").good()
    reached = place.project / "reached"
    program = place.write("killed.py", KILLED)
    what = manifest(pages("a", "two"), *(pages(name, name) for name in "bcd"))
    with place.start([str(program), str(reached)]) as plane, ThreadPoolExecutor(1) as others:
        try:
            wait_until(lambda: serves(place, plane.pid), 30, "it serves")
            deploying = others.submit(deployed, place, what, 1)
            wait_until(reached.exists, 30, "the deploy has changed some endpoints")
        finally:
            plane.kill()
        with pytest.raises(BackendUnavailable, match=r"went away|cannot be reached"):
            deploying.result(60)

    async def look(apps: AppStore) -> Any:
        return await apps.stage("shop", "production")

    stage = with_apps(place, look)
    assert (stage["version"], [each["name"] for each in stage["endpoints"]]) == (1, ["a", "b", "c"])
    done = deployed(place, what, 1)
    assert {each["endpoint"]: each["change"] for each in done["changes"]} == {
        **dict.fromkeys("abc", "keep"), "d": "create",
    }  # fmt: skip
    assert (done["version"], page(place, url_of(place))) == (2, "two")
    again = deployed(place, what, 2)
    assert (again["version"], {each["change"] for each in again["changes"]}) == (2, {"keep"})


@pytest.mark.slow
def test_a_stage_that_is_not_renewed_scales_to_zero_and_goes(place: Place) -> None:
    place.flash("server", "start", env={"FLASH_STAGE_GRACE_S": "3"}).good()

    async def make(apps: AppStore) -> Any:
        await apps.create_stage("shop", "dev", expires_in=2)
        body = {"min": 1, "max": 1, "idleTimeout": 600}
        return await apps.deploy("shop", "dev", manifest(pages("a", "one", workers=body)), base=0)

    (endpoint,) = with_apps(place, make)["stage"]["endpoints"]
    with plane_client(place) as client:

        def workers() -> int:
            return int(client.get(f"/v2/serverless/{endpoint['id']}/workers").json()["summary"]["total"])

        wait_until(lambda: workers() == 1, 20, "its minimum of workers comes up")
        wait_until(lambda: workers() == 0, 20, "it has scaled to zero")
        assert client.get("/flash/v1/apps?ephemeral=true").json()["apps"] != []
        wait_until(lambda: client.get(f"/v2/serverless/{endpoint['id']}").status_code == 404, 20, "it is gone")
        assert client.get("/flash/v1/apps?ephemeral=true").json()["apps"] == []


@pytest.mark.slow
def test_a_newer_version_takes_the_stages_over_from_one_that_runs(place: Place, tmp_path: Path) -> None:
    newer = {"PYTHONPATH": newer_version(tmp_path / "newer")}
    done = deployed(place, manifest(pages("a", "one")))
    older = control_plane(place)
    place.flash("server", "start", env=newer).good()
    older.wait(40)

    def taken() -> list[Any]:
        status = json.loads(place.flash("status", "--json", env=newer).good().stdout)
        return [endpoint for plane in status["planes"] for endpoint in plane["endpoints"]]

    wait_until(taken, 20, "the newer one has taken it over")
    (endpoint,) = taken()
    assert (endpoint["id"], endpoint["app"]) == (done["changes"][0]["id"], "shop")
    place.flash("server", "stop", env=newer).good()
    place.flash("server", "start", env=newer).good()
    (folder,) = [path.parent for path in place.home.glob("planes/*/record.json")]
    key = (folder / "key").read_text().strip()
    answer = httpx.get(
        f"{done['stage']['endpoints'][0]['url']}/page",
        headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=60,
    )  # fmt: skip
    assert answer.text.split()[0] == "one"


@pytest.mark.slow
def test_clients_of_flash_ask_by_names_before_and_after_a_restart(place: Place) -> None:
    shop = Project.of(place, "shop", work=SHOP)
    shop.deploy()
    names = {"X-Flash-App": "shop", "X-Flash-Environment": "production", "X-Flash-Endpoint": "upper"}

    def called() -> dict[str, Any]:
        with plane_client(place) as client:
            job = client.post("/v2/flash/runsync", json={"input": {"text": "a"}}, headers=names).json()
            asked: dict[str, Any] = client.get(f"/v2/flash/status/{job['id']}", headers=names).json()
            empty = client.post("/v2/flash/runsync", json={"input": {"__empty": True}}, headers=names)
            assert (empty.status_code, "text" in empty.json()["detail"]) == (422, True)
            return asked

    first = called()
    assert (first["status"], first["output"]) == ("COMPLETED", {"text": "A", "version": 1})
    place.flash("server", "stop").good()
    place.flash("server", "start").good()
    assert called()["output"] == first["output"]
