"""The API keys of a server for others: made, listed and revoked; only what they hash to is kept."""

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.principals import Principal, Scope
from runpod_flash.control_plane.store import Store
from runpod_flash.errors import ConfigError

USER_NAME: Final = re.compile(r"[a-z0-9._-]{1,64}")
"""What a user may be called."""

_KEY: Final = re.compile(rb"flash_([0-9a-f]{16})_[A-Za-z0-9_-]{43}")
_NO_DIGEST: Final = "0" * 64  # of no key
_COLUMNS: Final = "id, user, name, scope, endpoints, digest, created_at, revoked_at"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is remembered. `name` says what it is for; times are seconds since the epoch."""

    id: str
    user: str
    name: str
    scope: Scope
    endpoints: tuple[str, ...]  # ids, for the scope of single endpoints
    digest: str = field(repr=False)
    created_at: float
    revoked_at: float | None = None

    @property
    def principal(self) -> Principal:
        """Who comes with it."""
        return Principal(self.user, self.scope, frozenset(self.endpoints))


class ApiKeys:
    """All keys. They are in memory for the requests that carry them, in the store for the next start."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog
        self._keys = {key.id: key for key in _stored(store)}

    def list(self) -> "list[ApiKey]":
        """All keys, revoked ones too, the oldest first."""
        return sorted(self._keys.values(), key=lambda key: (key.created_at, key.id))

    async def create(
        self, user: str, *, name: str = "", scope: Scope = Scope.FULL, endpoints: Sequence[str] = ()
    ) -> tuple[ApiKey, str]:
        """Make a key; returns what is remembered of it and the key itself, which cannot be had again.

        Raises:
            ConfigError: the user cannot be called so, or the endpoints do not fit the scope or are not that user's.
            StoreError: it could not be written; there is no such key.
        """
        self._check(user, scope, endpoints)
        key_id = secrets.token_hex(8)
        text = f"flash_{key_id}_{secrets.token_urlsafe(32)}"
        key = ApiKey(key_id, user, name, scope, tuple(endpoints), _digest(text.encode()), time.time())
        values = [key.id, user, name, str(scope), json.dumps(key.endpoints), key.digest, key.created_at, None]
        await self._store.write((f"INSERT INTO api_keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values))
        self._keys[key.id] = key
        return key, text

    async def revoke(self, key_id: str) -> ApiKey | None:
        """Refuse a key from now on; returns it as it is then, None where there is none. Raises StoreError."""
        key = self._keys.get(key_id)
        if key is None or key.revoked_at is not None:
            return key
        revoked = replace(key, revoked_at=time.time())
        await self._store.write(("UPDATE api_keys SET revoked_at = ? WHERE id = ?", [revoked.revoked_at, key_id]))
        self._keys[key_id] = revoked
        return revoked

    def principal(self, given: bytes) -> Principal | None:
        """Who comes with this key; None where it is none, or revoked. Takes as long for unknown ids as for others."""
        named = _KEY.fullmatch(given)
        key = self._keys.get(named[1].decode()) if named is not None else None
        fits = hmac.compare_digest(_digest(given), key.digest if key is not None else _NO_DIGEST)
        return key.principal if key is not None and fits and key.revoked_at is None else None

    def _check(self, user: str, scope: Scope, endpoints: Sequence[str]) -> None:
        if not USER_NAME.fullmatch(user):
            raise ConfigError(f"user is {user!r:.80}; it must be 1 to 64 characters of a-z, 0-9, '.', '_' and '-'")
        if (scope is Scope.ENDPOINT) != bool(endpoints):
            raise ConfigError(f"a key of scope '{Scope.ENDPOINT}', and no other, names its endpoints")
        own = {record.id for record in self._catalog.list(owner=user)}
        for endpoint_id in endpoints:
            if endpoint_id not in own:
                raise ConfigError(f"endpoints has {endpoint_id!r:.80}; user {user} has no endpoint of this id")


def _stored(store: Store) -> "list[ApiKey]":
    return [
        ApiKey(key_id, user, name, Scope(scope), tuple(json.loads(endpoints)), digest, created_at, revoked_at)
        for key_id, user, name, scope, endpoints, digest, created_at, revoked_at in store.read(
            f"SELECT {_COLUMNS} FROM api_keys"
        )
    ]


def _digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()
