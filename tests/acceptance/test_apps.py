"""Apps, their stages and deploys, over the real control plane and real workers."""

from typing import Any

import pytest

from runpod_flash.backends.base import AppStore
from runpod_flash.errors import AppNotFound, ConfigError, NameTaken, StageMoved, StageNotFound
from tests.support.app_plane import manifest, pages, with_apps
from tests.support.place import Place
from tests.support.plane_api import plane_client


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
