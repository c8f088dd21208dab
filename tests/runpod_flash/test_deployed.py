"""Which stage of which app is meant, what is said of what is not there, and how long a call waits."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from runpod_flash.backends.base import Backend
from runpod_flash.calls import Ticket
from runpod_flash.deployed import Deployed
from runpod_flash.errors import ConfigError, EndpointNotFound, StageNotFound, VolumeNotFound, WaitTimedOut
from runpod_flash.scopes import StageName
from runpod_flash.settings import Settings, load
from runpod_flash.volumes import NetworkVolume


class Apps:
    """A platform with one stage, which has the endpoints `names`."""

    def __init__(self, names: list[str] | None) -> None:
        self.names, self.apps = names, self
        self.volumes: list[dict[str, Any]] = []

    async def find(self, name: str) -> dict[str, Any] | None:
        return {"id": "e1", "name": name} if name in (self.names or ()) else None

    async def stage(self, app: str, stage: str) -> dict[str, Any]:
        if self.names is None:
            raise StageNotFound(f"{app} has no {stage}")
        body = {"networkVolumes": [f"v{number}" for number, _ in enumerate(self.volumes)]}
        built = {"name": "count", "body": body, "volumes": self.volumes}
        return {"endpoints": [{"name": name} for name in self.names], "manifest": {"endpoints": [built]}}


def find(name: str, names: list[str] | None) -> str:
    deployed = Deployed(StageName("shop", "test"), Path("/"))
    return asyncio.run(deployed.find(cast(Backend, Apps(names)), name)).id


@pytest.mark.parametrize(
    ("environ", "meant"),
    [
        ({}, None),
        ({"FLASH_APP": "shop"}, StageName("shop", "production")),
        ({"FLASH_ENV": "test"}, StageName("my-folder", "test")),
        ({"FLASH_APP": "shop", "FLASH_ENV": "test"}, StageName("shop", "test")),
        ({"FLASH_APP": "shop", "FLASH_IS_LIVE_PROVISIONING": "True"}, None),
    ],
)
def test_the_stage_that_the_environment_means(environ: dict[str, str], meant: StageName | None, tmp_path: Path) -> None:
    project = tmp_path / "my folder"
    project.mkdir()
    deployed = Deployed.of(load(environ, tmp_path), project)
    assert (None if deployed is None else deployed.stage) == meant
    assert deployed is None or deployed.stage.scope == f"app:{deployed.stage.app}/{deployed.stage.stage}"


def test_the_env_file_of_a_program_counts_and_not_that_of_a_worker(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FLASH_ENV=test\n")
    worker = {"RUNPOD_ENDPOINT_ID": "e", "FLASH_RESOURCE_NAME": "f"}
    assert Deployed.of(load({}, tmp_path), tmp_path) is not None
    assert Deployed.of(load(worker, tmp_path), tmp_path) is None
    assert Deployed.of(load({**worker, "FLASH_APP": "shop"}, tmp_path), tmp_path) is not None


def test_names_that_cannot_be_and_a_target_without_apps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"FLASH_APP= is 'a/b'; .* did you mean 'a-b'"):
        Deployed.of(Settings(app="a/b"), tmp_path)
    with pytest.raises(ConfigError, match="FLASH_ENV= is '-'"):
        Deployed.of(Settings(stage="-"), tmp_path)
    with pytest.raises(ConfigError, match="FLASH_TARGET is 'inline', where nothing is deployed"):
        Deployed.of(Settings(app="shop", target="inline"), tmp_path)


def test_what_is_deployed_is_found() -> None:
    assert find("count", ["other", "count"]) == "e1"


def test_what_is_not_deployed_is_said_with_what_to_do() -> None:
    with pytest.raises(EndpointNotFound) as missing:
        find("cuont", ["other", "count"])
    assert str(missing.value) == (
        "stage 'test' of app 'shop' has no endpoint 'cuont'; did you mean 'count'? To deploy this one: `flash deploy "
        "--app shop --env test`. To run it as it is here, unset FLASH_APP and FLASH_ENV"
    )
    with pytest.raises(EndpointNotFound, match="it has none"):
        find("count", [])
    with pytest.raises(
        StageNotFound, match="shop has no test; to make it of this project: `flash deploy --app shop --env test`"
    ):
        find("count", None)


def test_volumes_are_those_of_the_deployed_endpoints() -> None:
    deployed = Deployed(StageName("shop", "test"), Path("/"))
    apps = Apps(["count"])
    apps.volumes = [
        {"name": "x", "size": 10, "dataCenter": "EU-RO-1"},
        {"name": "x", "size": 9, "dataCenter": "US-KS-2"},
    ]

    def volume_id(name: str, datacenter: str) -> str:
        volume = NetworkVolume(name, datacenter=datacenter)
        return asyncio.run(deployed.volume_id(cast(Backend, apps), volume))

    assert volume_id("x", "US-KS-2") == "v1"
    assert volume_id("x", "EU-RO-1") == "v0"
    with pytest.raises(VolumeNotFound, match=r"has a network volume 'y' in EU-RO-1; .* `flash deploy --app shop"):
        volume_id("y", "EU-RO-1")


def test_a_call_waits_as_long_as_it_is_told() -> None:
    ticket = Ticket("j1", "e1", "count")

    async def wait(patience_s: float | None, work: Any) -> Any:
        async with Deployed(StageName("shop", "test"), Path("/"), patience_s).waiting(ticket):
            return await work

    assert asyncio.run(wait(None, asyncio.sleep(0, "done"))) == "done"
    with pytest.raises(WaitTimedOut, match=r"job j1 of endpoint 'count' had not ended after 0.01 s"):
        asyncio.run(wait(0.01, asyncio.sleep(30)))

    async def late() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        asyncio.run(wait(30, late()))


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_bad_wait_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="FLASH_SENTINEL_TIMEOUT is"):
        load({"FLASH_SENTINEL_TIMEOUT": text}, tmp_path)
    assert load({"FLASH_SENTINEL_TIMEOUT": "1.5"}, tmp_path).sentinel_timeout_s == 1.5
