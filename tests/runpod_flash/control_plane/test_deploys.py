"""Deploys without HTTP: who leaves, what fails, what is left half done."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane.apps import Apps
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.deploys import Deployed, Deploys, Order
from runpod_flash.control_plane.principals import OWNER
from runpod_flash.control_plane.store import Store, StoreError
from runpod_flash.errors import BackendUnavailable, NameTaken
from tests.support.small_plane import BODY

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def nothing(body: Mapping[str, Any]) -> AsyncIterator[None]:
    yield


def order(*names: str, **changes: Any) -> Order:
    bodies = [{**BODY, "name": name, **changes} for name in names]
    return Order({"endpoints": [{"name": body["name"], "body": body} for body in bodies]}, bodies, nothing)


class Scene:
    """A stage of an app, and what deploys to it."""

    def __init__(self, store: Store) -> None:
        self.catalog = Catalog(store)
        self.apps = Apps(store, self.catalog)
        self.deploys = Deploys(self.apps, self.catalog)
        self.heard = list[Mapping[str, Any]]()

    async def deploy(self, what: Order, base: int = 0, *, prune: bool = False) -> Deployed:
        stage = self.apps.stage(OWNER, "shop", "production")
        return await self.deploys.deploy(stage, what, base=base, prune=prune, tell=self.heard.append)

    def names(self) -> list[str]:
        return [record.name for record in self.catalog.list()]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    store = Store.open(tmp_path / "flash.db")
    scene = Scene(store)
    await scene.apps.create_stage(OWNER, "shop", "production")
    yield scene
    store.close()


async def test_who_leaves_while_it_prepares_has_changed_nothing(scene: Scene) -> None:
    began = asyncio.Event()

    async def prepare(*_: Any) -> None:
        began.set()
        await asyncio.sleep(60)

    scene.deploys.prepare = prepare
    deploying = asyncio.create_task(scene.deploy(order("a")))
    await began.wait()
    deploying.cancel()
    await asyncio.wait([deploying])
    assert (deploying.cancelled(), scene.names()) == (True, [])
    scene.deploys.prepare = Deploys(scene.apps, scene.catalog).prepare
    assert (await scene.deploy(order("a"))).version == 1


async def test_who_leaves_while_it_changes_leaves_it_to_its_end(scene: Scene) -> None:
    began, go_on, create = asyncio.Event(), asyncio.Event(), scene.catalog.create

    async def slow(*arguments: Any) -> Any:
        began.set()
        await go_on.wait()
        return await create(*arguments)

    scene.catalog.create = slow  # type: ignore[method-assign]
    deploying = asyncio.create_task(scene.deploy(order("a", "b")))
    await began.wait()
    for _ in range(3):
        deploying.cancel()
        await asyncio.sleep(0)
    assert not deploying.done()
    go_on.set()
    await asyncio.wait([deploying])
    assert (deploying.cancelled(), scene.names()) == (True, ["a", "b"])
    assert scene.apps.stage(OWNER, "shop", "production").version == 1
    await scene.deploys.close()


async def test_one_that_fails_in_the_middle_keeps_its_version_and_is_completed_by_the_next(scene: Scene) -> None:
    await scene.deploy(order("a"))
    create, calls = scene.catalog.create, list[Any]()

    async def failing(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise StoreError("the disk is full")
        return await create(*arguments)

    scene.catalog.create = failing  # type: ignore[method-assign]
    what = order("a", "b", "c", env={"A": "1"})
    with pytest.raises(StoreError):
        await scene.deploy(what, 1)
    assert (scene.names(), scene.apps.stage(OWNER, "shop", "production").version) == (["a", "b"], 1)
    done = await scene.deploy(what, 1)
    assert ([str(change.kind) for change in done.changes], done.version) == (["keep", "keep", "create"], 2)


async def test_one_that_was_killed_before_its_version_was_noted_is_noted_by_the_next(scene: Scene) -> None:
    stage = scene.apps.stage(OWNER, "shop", "production")
    for body in order("a", "b").bodies:
        await scene.catalog.create(stage.scope, body)
    done = await scene.deploy(order("a", "b"))
    assert ([str(change.kind) for change in done.changes], done.version) == (["keep", "keep"], 1)


async def test_a_manifest_that_says_other_things_of_the_same_endpoints_is_a_version(scene: Scene) -> None:
    await scene.deploy(order("a"))
    what = order("a")
    told = Order({"endpoints": [{**what.manifest["endpoints"][0], "doc": "It is described."}]}, what.bodies, nothing)
    assert (await scene.deploy(told, 1)).version == 2
    assert (await scene.deploy(told, 2)).version == 2


async def test_environments_are_prepared_for_new_workers_only(scene: Scene) -> None:
    await scene.deploy(order("a", "b"))
    scene.heard.clear()
    what = order("a", "b", "c")
    changed = [what.bodies[0] | {"timeout": 5}, what.bodies[1] | {"env": {"A": "1"}}, what.bodies[2]]
    await scene.deploy(Order(what.manifest, changed, nothing), 1)
    assert [(each["endpoint"], each["event"], each["text"]) for each in scene.heard] == [
        ("b", "preparing", ""),
        ("c", "preparing", ""),
        ("a", "changing", "update"),
        ("b", "changing", "roll"),
        ("c", "changing", "create"),
    ]


async def test_a_name_that_somebody_takes_meanwhile_is_said(scene: Scene) -> None:
    stage = scene.apps.stage(OWNER, "shop", "production")

    async def prepare(*_: Any) -> None:
        await scene.catalog.create(stage.scope, order("a").bodies[0])

    scene.deploys.prepare = prepare
    with pytest.raises(NameTaken):
        await scene.deploy(order("a"))


async def test_a_control_plane_that_stops_ends_what_is_prepared_and_says_so(scene: Scene) -> None:
    began, ended = asyncio.Event(), list[str]()

    async def prepare(*_: Any) -> None:
        try:
            began.set()
            await asyncio.sleep(60)
        finally:
            ended.append("prepared")

    scene.deploys.prepare = prepare
    deploying = asyncio.create_task(scene.deploy(order("a")))
    await began.wait()
    await scene.deploys.close()
    with pytest.raises(BackendUnavailable, match="nothing was changed: deploy again"):
        await deploying
    assert (ended, scene.names()) == (["prepared"], [])
