"""Apps and stages as the store keeps them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runpod_flash.control_plane.apps import VERSIONS_KEPT, Apps
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.principals import OWNER
from runpod_flash.control_plane.stage_table import StageRecord, VersionRecord, VersionState
from runpod_flash.control_plane.store import Store, StoreError
from runpod_flash.errors import AppNotFound, ConfigError, NameTaken, StageBusy, StageNotFound
from tests.support.small_plane import BODY

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store.open(tmp_path / "flash.db")
    yield opened
    opened.close()


@pytest.fixture
def apps(store: Store) -> Apps:
    return Apps(store, Catalog(store))


def version(number: int, base: int = 0, artifacts: tuple[str, ...] = ()) -> VersionRecord:
    manifest = {"endpoints": [], "number": number}
    return VersionRecord(number, base, 1.0, VersionState.ACTIVE, f"f{number}", artifacts, manifest)


async def test_what_was_made_is_there_after_a_restart(store: Store, apps: Apps) -> None:
    stage = await apps.create_stage(OWNER, "shop", "production", label="the real one")
    await apps.create_stage("ada", "shop", "try", expires_in=60)
    await apps.record(stage, version(1, artifacts=("a" * 64,)))
    again = Apps(store, Catalog(store))
    assert again.apps_of(OWNER) == apps.apps_of(OWNER)
    assert again.stage(OWNER, "shop", "production") == apps.stage(OWNER, "shop", "production")
    assert again.stage("ada", "shop", "try").expires_in == 60
    assert again.content() == {"a" * 64}
    found = again.version(again.stage(OWNER, "shop", "production"), 1)
    assert found == version(1, artifacts=("a" * 64,))


async def test_names_are_checked_and_taken_once(apps: Apps) -> None:
    await apps.create(OWNER, "shop")
    with pytest.raises(NameTaken, match="shop"):
        await apps.create(OWNER, "shop")
    await apps.create("ada", "shop")  # everybody has names of their own
    await apps.create_stage(OWNER, "shop", "production")
    with pytest.raises(NameTaken, match="production"):
        await apps.create_stage(OWNER, "shop", "production")
    with pytest.raises(ConfigError, match="did you mean 'my-shop'"):
        await apps.create(OWNER, "my shop")
    with pytest.raises(ConfigError, match="stage="):
        await apps.create_stage(OWNER, "shop", "")


async def test_who_is_not_there_is_told_the_nearest(apps: Apps) -> None:
    await apps.create_stage(OWNER, "shop", "production")
    with pytest.raises(AppNotFound, match="did you mean 'shop'"):
        apps.get(OWNER, "shopp")
    with pytest.raises(StageNotFound, match="did you mean 'production'"):
        apps.stage(OWNER, "shop", "prod")
    with pytest.raises(AppNotFound):
        apps.stage("ada", "shop", "production")


async def test_an_app_that_was_made_for_a_stage_that_expires_goes_with_it(apps: Apps) -> None:
    first = await apps.create_stage(OWNER, "shop", "dev-a", expires_in=60)
    second = await apps.create_stage(OWNER, "shop", "dev-b", expires_in=60)
    assert apps.apps_of(OWNER) == []
    assert [app.name for app in apps.apps_of(OWNER, ephemeral=True)] == ["shop"]
    await apps.delete_stage(first)
    assert [app.name for app in apps.apps_of(OWNER, ephemeral=True)] == ["shop"]
    await apps.delete_stage(second)
    assert apps.apps_of(OWNER, ephemeral=True) == []


async def test_an_app_that_was_made_lasts(apps: Apps) -> None:
    stage = await apps.create_stage(OWNER, "shop", "dev", expires_in=60)
    await apps.create(OWNER, "shop")
    await apps.delete_stage(stage)
    assert [app.name for app in apps.apps_of(OWNER)] == ["shop"]
    lasting = await apps.create_stage(OWNER, "other", "production")
    await apps.delete_stage(lasting)
    assert [app.name for app in apps.apps_of(OWNER)] == ["shop", "other"]


async def test_a_deleted_stage_takes_its_endpoints_and_jobs_along(store: Store) -> None:
    catalog, ended = Catalog(store), list[str]()
    apps = Apps(store, catalog)

    async def end_jobs(endpoint: str) -> None:
        ended.append(endpoint)

    apps.end_jobs = end_jobs
    stage = await apps.create_stage(OWNER, "shop", "production")
    mine = await catalog.create(stage.scope, {**BODY, "name": "a"})
    other = await catalog.create("/project", {**BODY, "name": "a"})
    assert apps.holds_endpoints()
    await apps.delete(apps.get(OWNER, "shop"))
    assert (catalog.list(), ended) == ([other], [mine.id])
    assert not apps.holds_endpoints()
    assert Apps(store, catalog).apps_of(OWNER) == []


async def test_one_at_a_time_changes_a_stage(apps: Apps) -> None:
    stage = await apps.create_stage(OWNER, "shop", "production")
    with apps.changing(stage):
        with pytest.raises(StageBusy, match="another deploy"):
            await apps.delete_stage(stage)
        with pytest.raises(StageBusy):
            await apps.delete(apps.get(OWNER, "shop"))
    await apps.delete_stage(stage)


async def deployed(apps: Apps, stage: StageRecord, number: int, base: int) -> StageRecord:
    return await apps.record(stage, version(number, base, (f"{number:064x}",)))


async def test_old_versions_are_forgotten_but_for_the_one_before(apps: Apps) -> None:
    stage = await apps.create_stage(OWNER, "shop", "production")
    for number in range(1, VERSIONS_KEPT + 4):
        stage = await deployed(apps, stage, number, number - 1)
    numbers = [each.number for each in apps.versions(stage)]
    assert numbers == list(range(4, VERSIONS_KEPT + 4))
    assert apps.content() == {f"{number:064x}" for number in numbers}
    stage = await apps.go_back(stage, 4)
    stage = await deployed(apps, stage, VERSIONS_KEPT + 4, 4)
    assert 4 in [each.number for each in apps.versions(stage)]


async def test_versions_say_what_became_of_them(apps: Apps) -> None:
    stage = await apps.create_stage(OWNER, "shop", "production")

    def states() -> list[str]:
        return [str(each.state) for each in apps.versions(stage)]

    for number in (1, 2, 3):
        stage = await deployed(apps, stage, number, number - 1)
    assert states() == ["superseded", "superseded", "active"]
    stage = await apps.go_back(stage, 1)
    assert (states(), stage.version) == (["active", "rolled-back", "rolled-back"], 1)
    stage = await apps.go_back(stage, 3)
    assert states() == ["superseded", "rolled-back", "active"]
    stage = await deployed(apps, stage, 4, 3)
    assert states() == ["superseded", "rolled-back", "superseded", "active"]


async def test_a_renewed_stage_lives_on(store: Store) -> None:
    now = [1000.0]
    apps = Apps(store, Catalog(store), lambda: now[0])
    stage = await apps.create_stage(OWNER, "shop", "dev", expires_in=60)
    assert stage.expires_at == 1060
    now[0] = 1050.0
    assert (await apps.renew(stage)).expires_at == 1110
    assert Apps(store, Catalog(store)).stage(OWNER, "shop", "dev").expires_at == 1110
    lasting = await apps.create_stage(OWNER, "shop", "production")
    assert (await apps.renew(lasting)).expires_at is None


async def test_what_cannot_be_stored_was_never_there(store: Store, apps: Apps) -> None:
    await apps.create(OWNER, "shop")
    kept = await apps.create_stage(OWNER, "dev", "mine", expires_in=60)
    store.close()
    with pytest.raises(StoreError):
        await apps.create(OWNER, "other")
    for app in ("shop", "other"):
        with pytest.raises(StoreError):
            await apps.create_stage(OWNER, app, "production")
    with pytest.raises(StoreError):
        await apps.delete_stage(kept)
    assert [app.name for app in apps.every_app()] == ["shop", "dev"]
    assert apps.all_stages() == [kept]


async def test_a_stage_that_is_made_while_its_app_is_deleted_stays(store: Store, apps: Apps) -> None:
    await apps.create_stage(OWNER, "shop", "production")
    deleting = asyncio.create_task(apps.delete(apps.get(OWNER, "shop")))
    await asyncio.sleep(0)
    other = await apps.create_stage(OWNER, "shop", "staging")
    await deleting
    assert Apps(store, Catalog(store)).all_stages() == apps.all_stages() == [other]
    assert Apps(store, Catalog(store)).every_app() == apps.every_app()
    assert [app.name for app in apps.every_app()] == ["shop"]
