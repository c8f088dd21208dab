"""The catalog: names, generations, and that a change that cannot be stored did not happen."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.confighash import config_hash
from runpod_flash.control_plane.api.serverless_body import created
from runpod_flash.control_plane.catalog import ROLLING_FIELDS, Catalog, NameTaken
from runpod_flash.control_plane.store import Store, StoreError
from runpod_flash.errors import EndpointNotFound


def body(**changes: Any) -> dict[str, Any]:
    asked = {
        "name": "n",
        "type": "QUEUE",
        "image": "runpod/flash",
        "gpu": {"pools": ["ADA_24"]},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
    }
    return created({**asked, **changes})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "flash.db")
    yield store
    store.close()


@pytest.fixture
def catalog(store: Store) -> Catalog:
    return Catalog(store)


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await work()

    return asyncio.run(main())


def test_what_is_created_is_found_also_after_a_restart(catalog: Catalog, store: Store) -> None:
    record = run(lambda: catalog.create("/p", body()))
    assert (record.generation, record.config_hash) == (1, config_hash(body()))
    assert len(record.id) == 14
    assert record.id.isalnum()
    assert record.id.islower()
    for known in (catalog, Catalog(store)):
        assert known.get(record.id) == record
        assert known.find("/p", "n") == record
        assert known.list("/p") == known.list() == [record]
        assert known.list("/q") == []
        assert known.find("/q", "n") is None


def test_names_are_unique_in_their_project(catalog: Catalog) -> None:
    record = run(lambda: catalog.create("/p", body()))
    run(lambda: catalog.create("/q", body()))
    other = run(lambda: catalog.create("/p", body(name="other")))
    with pytest.raises(NameTaken, match=record.id):
        run(lambda: catalog.create("/p", body()))
    with pytest.raises(NameTaken, match=record.id):
        run(lambda: catalog.update(other.id, lambda old: {**old, "name": "n"}))
    assert catalog.get(other.id) == other


def test_of_two_creators_at_once_one_gets_the_name(catalog: Catalog) -> None:
    async def both() -> list[Any]:
        return await asyncio.gather(*(catalog.create("", body()) for _ in range(2)), return_exceptions=True)

    first, second = asyncio.run(both())
    assert isinstance(second, NameTaken)
    assert catalog.list() == [first]


CHANGES = {
    "image": "other",
    "env": {"A": "1"},
    "gpu": {"pools": ["ADA_24"], "count": 2, "excludedTypes": [], "allowedCudaVersions": [], "minCudaVersion": ""},
    "cpu": [{"id": "cpu3c", "vcpuCount": 2}],
    "dataCenterIds": ["EU-RO-1"],
    "networkVolumes": ["v"],
    "flashboot": "FLASHBOOT",
    "workers": {"min": 1, "max": 4, "idleTimeout": 10},
    "scaling": {"type": "REQUEST_COUNT", "requestCount": 1},
    "timeout": 1000,
    "name": "renamed",
}


@pytest.mark.parametrize("field", CHANGES)
def test_only_some_changes_need_new_workers(catalog: Catalog, field: str) -> None:
    told: list[tuple[int, bool]] = []
    catalog.on_change = lambda record, rolled: told.append((record.generation, rolled))
    record = run(lambda: catalog.create("", body()))
    changed = run(lambda: catalog.update(record.id, lambda old: {**old, field: CHANGES[field]}))
    rolls = field in ROLLING_FIELDS
    assert changed.generation == (2 if rolls else 1)
    assert told == [(1, False), (changed.generation, rolls)]
    assert changed.body[field] == CHANGES[field]
    assert (changed.config_hash == record.config_hash) == (field == "env")


def test_a_change_that_changes_nothing_is_told_to_nobody(catalog: Catalog) -> None:
    record = run(lambda: catalog.create("", body()))
    catalog.on_change = lambda *told: pytest.fail("told")
    assert run(lambda: catalog.update(record.id, dict)) == record


def test_deleting(catalog: Catalog, store: Store) -> None:
    gone: list[str] = []
    catalog.on_delete = gone.append
    record = run(lambda: catalog.create("", body()))
    run(lambda: catalog.delete(record.id))
    assert gone == [record.id]
    assert Catalog(store).list() == catalog.list() == []
    for work in (lambda: catalog.delete(record.id), lambda: catalog.update(record.id, dict)):
        with pytest.raises(EndpointNotFound, match=record.id):
            run(work)
    assert run(lambda: catalog.create("", body())).id != record.id


def test_what_cannot_be_stored_did_not_happen(catalog: Catalog, store: Store) -> None:
    record = run(lambda: catalog.create("", body()))
    catalog.on_change = lambda *told: pytest.fail("told")
    catalog.on_delete = lambda *told: pytest.fail("told")
    store._connection.execute("PRAGMA query_only = ON")
    attempts: list[Callable[[], Awaitable[Any]]] = [
        lambda: catalog.create("", body(name="new")),
        lambda: catalog.update(record.id, lambda old: {**old, "timeout": 5}),
        lambda: catalog.delete(record.id),
    ]
    for attempt in attempts:
        with pytest.raises(StoreError):
            run(attempt)
    assert catalog.list() == [record]


def test_each_user_has_names_of_their_own(store: Store, catalog: Catalog) -> None:
    mine = run(lambda: catalog.create("/p", body()))
    hers = run(lambda: catalog.create("/p", body(), "alice"))
    for again in (lambda: catalog.create("/p", body(), "alice"), lambda: catalog.create("/p", body())):
        with pytest.raises(NameTaken):
            run(again)
    other = run(lambda: catalog.create("/q", body(name="other"), "alice"))
    with pytest.raises(NameTaken):
        run(lambda: catalog.create("/q", body(name="other"), "alice"))
    for known in (catalog, Catalog(store)):
        assert known.list() == [mine, hers, other]
        assert (known.list(owner="alice"), known.list("/p", "alice"), known.list("/p", "bob")) == (
            [hers, other], [hers], [],
        )  # fmt: skip
        assert (known.find("/p", "n"), known.find("/p", "n", "alice"), known.find("/p", "n", "bob")) == (
            mine,
            hers,
            None,
        )
        assert [known.owner(each) for each in (mine.id, hers.id, "gone")] == ["", "alice", None]
    run(lambda: catalog.create("/p", body(name="m")))
    run(lambda: catalog.create("/p", body(name="k"), "alice"))
    with pytest.raises(NameTaken):
        run(lambda: catalog.update(hers.id, lambda old: {**old, "name": "k"}))
    renamed = run(lambda: catalog.update(hers.id, lambda old: {**old, "name": "m"}))
    assert (renamed.owner, renamed.name) == ("alice", "m")
