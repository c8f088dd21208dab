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
from runpod_flash.control_plane.store import Store
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
def keys(store: Store, catalog: Catalog) -> ApiKeys:
    return ApiKeys(store, catalog)


def test_a_key_is_known_after_a_restart_and_stored_nowhere(
    store: Store, catalog: Catalog, keys: ApiKeys, tmp_path: Path
) -> None:
    made, key = asyncio.run(keys.create("alice", name="laptop"))
    assert re.fullmatch(r"flash_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", key)
    assert key.split("_")[1] == made.id
    again = ApiKeys(store, catalog)
    assert again.list() == keys.list() == [made]
    assert again.principal(key.encode()) == Principal("alice")
    assert made.digest == hashlib.sha256(key.encode()).hexdigest()
    assert made.digest not in repr(made)
    assert all(key.split("_", 2)[2].encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_a_revoked_key_is_kept_and_refused(store: Store, catalog: Catalog, keys: ApiKeys) -> None:
    made, key = asyncio.run(keys.create("alice"))
    _, other = asyncio.run(keys.create("alice"))
    revoked = asyncio.run(keys.revoke(made.id))
    assert revoked is not None
    assert revoked.revoked_at is not None
    assert asyncio.run(keys.revoke(made.id)) == revoked  # the time stays
    assert asyncio.run(keys.revoke("unknown")) is None
    for known in (keys, ApiKeys(store, catalog)):
        assert known.principal(key.encode()) is None
        assert known.principal(other.encode()) == Principal("alice")
        assert [each.revoked_at for each in known.list()] == [revoked.revoked_at, None]


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
