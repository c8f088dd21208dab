"""API keys: made, kept as what they hash to, revoked, compared in constant time."""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from runpod_flash.control_plane import api_keys
from runpod_flash.control_plane.api_keys import ApiKeys
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.principals import Principal, Scope
from runpod_flash.control_plane.store import Store, StoreError
from runpod_flash.errors import ConfigError

BODY = {"name": "n", "type": "QUEUE"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "flash.db")
    yield store
    store.close()


@pytest.fixture
def catalog(store: Store) -> Catalog:
    return Catalog(store)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "planes" / "api_keys.json"


@pytest.fixture
def keys(path: Path, catalog: Catalog) -> ApiKeys:
    path.parent.mkdir()
    return ApiKeys(path, catalog)


def test_a_key_is_known_after_a_restart_and_stored_nowhere(catalog: Catalog, keys: ApiKeys, path: Path) -> None:
    made, key = asyncio.run(keys.create("alice", name="laptop"))
    assert re.fullmatch(r"flash_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", key)
    assert key.split("_")[1] == made.id
    again = ApiKeys(path, catalog)
    assert again.list() == keys.list() == [made]
    assert again.principal(key.encode()) == Principal("alice")
    assert made.digest == hashlib.sha256(key.encode()).hexdigest()
    assert made.digest not in repr(made)
    assert all(key.split("_", 2)[2].encode() not in file.read_bytes() for file in path.parent.iterdir())


def test_a_revoked_key_is_kept_and_refused(catalog: Catalog, keys: ApiKeys, path: Path) -> None:
    made, key = asyncio.run(keys.create("alice"))
    _, other = asyncio.run(keys.create("alice"))
    revoked = asyncio.run(keys.revoke(made.id))
    assert revoked is not None
    assert revoked.revoked_at is not None
    assert asyncio.run(keys.revoke(made.id)) == revoked  # the time stays
    assert asyncio.run(keys.revoke("unknown")) is None
    for known in (keys, ApiKeys(path, catalog)):
        assert known.principal(key.encode()) is None
        assert known.principal(other.encode()) == Principal("alice")
        assert [each.revoked_at for each in known.list()] == [revoked.revoked_at, None]


def test_what_another_control_plane_does_holds_here_at_the_next_request(
    catalog: Catalog, keys: ApiKeys, path: Path
) -> None:
    elsewhere, gone = ApiKeys(path, catalog), list[str]()
    keys.on_revoke = gone.append
    made, key = asyncio.run(elsewhere.create("alice"))
    assert keys.principal(key.encode()) == Principal("alice")
    asyncio.run(keys.create("bob"))
    asyncio.run(elsewhere.revoke(made.id))
    assert keys.principal(key.encode()) is None
    assert gone == ["alice"]
    assert [each.user for each in elsewhere.list()] == ["alice", "bob"]
    path.unlink()  # all are revoked, then
    assert keys.list() == []
    assert gone == ["alice", "bob"]


def test_who_holds_a_stream_hears_of_a_revocation_elsewhere(catalog: Catalog, keys: ApiKeys, path: Path) -> None:
    async def heard() -> str:
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        keys.on_revoke = told.set_result
        watching = asyncio.create_task(keys.watch())
        elsewhere = ApiKeys(path, catalog)
        made, _ = await elsewhere.create("alice")
        keys.look()
        await elsewhere.revoke(made.id)
        try:
            return await asyncio.wait_for(told, 20)
        finally:
            watching.cancel()

    assert asyncio.run(heard()) == "alice"


def test_a_file_that_becomes_unusable_changes_nothing_and_is_left_alone(
    catalog: Catalog, keys: ApiKeys, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made, key = asyncio.run(keys.create("alice"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    for _ in range(3):
        assert keys.principal(key.encode()) == Principal("alice")
    assert len([record for record in caplog.records if str(path) in record.message]) == 1
    for forbidden in (keys.create("bob"), keys.revoke(made.id)):
        with pytest.raises(StoreError, match="damaged"):
            asyncio.run(forbidden)
    for asked in (keys.check, keys.list):
        with pytest.raises(StoreError, match="damaged"):
            asked()
    assert path.read_bytes() == whole[:-9]
    late = ApiKeys(path, catalog)
    assert late.principal(key.encode()) is None
    path.write_bytes(whole)
    assert late.principal(key.encode()) == Principal("alice")
    late.check()


def test_scopes(catalog: Catalog, keys: ApiKeys) -> None:
    mine = asyncio.run(catalog.create("", BODY, "alice")).id
    theirs = asyncio.run(catalog.create("", BODY, "bob")).id
    _, narrow = asyncio.run(keys.create("alice", scope=Scope.ENDPOINT, endpoints=[mine]))
    principal = keys.principal(narrow.encode())
    assert principal == Principal("alice", Scope.ENDPOINT, frozenset([mine]))
    assert [principal.sees("alice", mine), principal.sees("alice", "other"), principal.sees("bob", theirs)] == [
        True, False, False,
    ]  # fmt: skip
    _, looker = asyncio.run(keys.create("alice", scope=Scope.READ_ONLY))
    assert keys.principal(looker.encode()) == Principal("alice", Scope.READ_ONLY)
    for scope, endpoints in (
        (Scope.ENDPOINT, [theirs]), (Scope.ENDPOINT, ["gone"]), (Scope.ENDPOINT, []), (Scope.FULL, [mine]),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="endpoints"):
            asyncio.run(keys.create("alice", scope=scope, endpoints=endpoints))
    assert len(keys.list()) == 2


@pytest.mark.parametrize("user", ["", "Alice", "a b", "a/b", "a" * 65, "ä", "a\n"])
def test_names_of_users(keys: ApiKeys, user: str) -> None:
    with pytest.raises(ConfigError, match="1 to 64 characters"):
        asyncio.run(keys.create(user))
    assert keys.list() == []


def test_as_much_is_compared_for_unknown_ids_as_for_others(keys: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    made, key = asyncio.run(keys.create("alice"))
    compared, plain = list[tuple[int, int]](), hmac.compare_digest

    def compare(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return plain(one, other)

    monkeypatch.setattr(api_keys.hmac, "compare_digest", compare)
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    unknown = key.replace(made.id, "0" * 16)
    for given_key in (key, wrong, unknown, "no key at all"):
        assert (keys.principal(given_key.encode()) is not None) is (given_key == key)
    assert compared == [(64, 64)] * 4
