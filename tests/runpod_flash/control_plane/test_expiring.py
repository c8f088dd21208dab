"""What nobody renews or uses rests, and is removed after a while."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runpod_flash.control_plane.apps import Apps
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.expiring import Expiring
from runpod_flash.control_plane.expiry import ExpiryTerms, Phase
from runpod_flash.control_plane.principals import OWNER
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.store import Store
from tests.support.small_plane import BODY, small_plane

pytestmark = pytest.mark.anyio

TERMS = ExpiryTerms(stage_grace_s=10, live_idle_s=100, live_expiry_s=1000)


@dataclass
class Scene:
    """Apps and a catalogue over a store, and a clock that the test moves."""

    store: Store
    now: float = 10_000.0
    busy: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.catalog = Catalog(self.store)
        self.apps = Apps(self.store, self.catalog, lambda: self.now)
        self.expiring = self.again()

    def again(self) -> Expiring:
        """As after a restart."""
        expiring = Expiring(self.apps, self.catalog, self.store, TERMS, lambda: self.now)
        expiring.is_busy, expiring.on_phase = self.busy.__contains__, self.told.append
        self.catalog.on_change = lambda record, rolled: expiring.used(record.id)
        self.catalog.on_delete = expiring.forget
        return expiring

    async def live(self, name: str = "a", project: str = "/p", **changes: object) -> EndpointRecord:
        return await self.catalog.create(project, {**BODY, "name": name, **changes})

    async def after(self, seconds: float) -> None:
        self.now += seconds
        await self.expiring.look()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    store = Store.open(tmp_path / "flash.db")
    yield Scene(store)
    store.close()


async def test_a_stage_that_is_not_renewed_rests_at_once_and_is_removed_after_the_grace(scene: Scene) -> None:
    stage = await scene.apps.create_stage(OWNER, "shop", "dev", expires_in=60)
    endpoint = await scene.live(project=stage.scope)
    await scene.after(59)
    assert (scene.expiring.rests(endpoint), scene.told) == (False, [])
    assert scene.expiring.expires_at(endpoint) == 10_060
    await scene.after(1)
    assert (scene.expiring.rests(endpoint), scene.told) == (True, [endpoint.id])
    await scene.apps.renew(stage)
    await scene.after(0)
    assert (scene.expiring.rests(endpoint), scene.told) == (False, [endpoint.id] * 2)
    await scene.after(69)
    assert scene.catalog.list() == [endpoint]
    await scene.after(1)
    assert (scene.catalog.list(), scene.apps.all_stages()) == ([], [])


async def test_a_stage_that_lasts_stays(scene: Scene) -> None:
    stage = await scene.apps.create_stage(OWNER, "shop", "production")
    endpoint = await scene.live(project=stage.scope)
    await scene.after(1e9)
    assert (scene.catalog.list(), scene.expiring.rests(endpoint)) == ([endpoint], False)
    assert scene.expiring.expires_at(endpoint) is None


async def test_an_endpoint_of_a_script_rests_and_goes_unless_it_is_used(scene: Scene) -> None:
    endpoint = await scene.live()
    await scene.after(100)
    assert scene.expiring.rests(endpoint)
    scene.expiring.used(endpoint.id)
    assert (scene.expiring.rests(endpoint), scene.told) == (False, [endpoint.id] * 2)
    await scene.after(999)
    assert scene.expiring.expires_at(endpoint) == scene.now + 1
    await scene.after(1)
    assert scene.catalog.list() == []


async def test_one_that_is_busy_is_used(scene: Scene) -> None:
    endpoint = await scene.live()
    scene.busy.add(endpoint.id)
    await scene.after(5000)
    assert (scene.catalog.list(), scene.expiring.rests(endpoint)) == ([endpoint], False)


async def test_commands_stay(scene: Scene) -> None:
    command = await scene.live(command="true")
    await scene.after(1e9)
    assert (scene.catalog.list(), scene.expiring.expires_at(command)) == ([command], None)


async def test_the_last_use_is_known_after_a_restart(scene: Scene) -> None:
    old, used = await scene.live("old"), await scene.live("used")
    await scene.after(90)
    scene.expiring.used(used.id)
    await scene.after(5)
    scene.expiring = scene.again()
    await scene.after(5)
    assert (scene.expiring.rests(old), scene.expiring.rests(used)) == (True, False)


async def test_one_of_which_nothing_is_known_counts_as_used_now(scene: Scene) -> None:
    scene.catalog.on_change = lambda record, rolled: None
    endpoint = await scene.live()
    scene.now += 1e6
    await scene.after(0)
    assert (scene.catalog.list(), scene.expiring.rests(endpoint)) == ([endpoint], False)


async def test_who_collects_says_what_and_why_and_removes_stages_in_their_grace(scene: Scene) -> None:
    await scene.apps.create_stage(OWNER, "shop", "dev", expires_in=60)
    await scene.apps.create_stage("ada", "shop", "dev", expires_in=60)
    orphan = await scene.live("lost", project="app:gone/dev")
    scene.now += 60
    asked = await scene.expiring.collect(Phase.RESTING, None, dry_run=True)
    assert [(ended.kind, ended.name, ended.app, ended.owner) for ended in asked] == [
        ("stage", "dev", "shop", OWNER),
        ("stage", "dev", "shop", "ada"),
        ("endpoint", "lost", "gone", OWNER),
    ]
    assert "was not renewed" in asked[0].why
    assert (len(scene.apps.all_stages()), scene.catalog.list()) == (2, [orphan])
    assert [ended.owner for ended in await scene.expiring.collect(Phase.RESTING, "ada")] == ["ada"]
    assert len(await scene.expiring.collect(Phase.RESTING, None)) == 2
    assert (scene.apps.all_stages(), scene.catalog.list()) == ([], [])


async def test_a_stage_that_is_being_changed_is_left(scene: Scene) -> None:
    stage = await scene.apps.create_stage(OWNER, "shop", "dev", expires_in=1)
    with scene.apps.changing(stage):
        await scene.after(100)
        assert scene.apps.all_stages() == [stage]
    await scene.after(0)
    assert scene.apps.all_stages() == []


async def test_the_loop_wakes_at_the_moment_itself(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "flash.db")
    catalog = Catalog(store)
    apps = Apps(store, catalog)
    expiring = Expiring(apps, catalog, store, ExpiryTerms(stage_grace_s=0.05))
    loop = asyncio.create_task(expiring.run())
    await asyncio.sleep(0)  # it has looked and waits for half a minute
    await apps.create_stage(OWNER, "shop", "dev", expires_in=0.05)
    async with asyncio.timeout(5):
        while apps.all_stages():
            await asyncio.sleep(0.005)
    loop.cancel()
    await asyncio.wait([loop])
    store.close()


async def test_workers_of_who_rests_end_at_once_whatever_the_minimum(tmp_path: Path) -> None:
    async with small_plane(tmp_path) as plane:
        endpoint = await plane.endpoint(workers={"min": 2, "max": 3, "idleTimeout": 600})
        await plane.serve(endpoint)
        await plane.until(lambda: len(plane.workers()) == 2)
        plane.connect()
        plane.autoscaler.rests = lambda record: True
        plane.autoscaler.load_changed(endpoint)
        await plane.until(lambda: not plane.workers())
        await plane.serve(endpoint)  # a job is served all the same
        await plane.until(lambda: not plane.workers())
        plane.autoscaler.rests = lambda record: False
        await plane.serve(endpoint)
        await plane.until(lambda: len(plane.workers()) == 2)
