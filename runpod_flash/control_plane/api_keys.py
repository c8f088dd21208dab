"""The API keys of a server for others: made, listed and revoked; only what they hash to is kept."""

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from runpod_flash.control_plane.api_key_file import USER_NAME, ApiKey, KeyFile, Mark
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.principals import Principal, Scope
from runpod_flash.control_plane.store import StoreError
from runpod_flash.errors import ConfigError

LOOK_S = 1.0
"""Seconds after which a revocation made elsewhere is heard of at the latest, where no request asks before."""

_KEY: Final = re.compile(rb"flash_([0-9a-f]{16})_[A-Za-z0-9_-]{43}")
_NO_DIGEST: Final = "0" * 64  # of no key

logger = logging.getLogger(__name__)


class ApiKeys:
    """All keys. They are in memory for the requests that carry them, and in a file that all versions of this package
    share. The file is looked at before each use, so that what another control plane has revoked is revoked here.

    A file that becomes unusable while this runs changes nothing: what was read last holds.

    Attributes:
        on_revoke: called with the user of each key that is valid no more.
    """

    def __init__(self, path: Path, catalog: Catalog) -> None:
        """Reads the file; one that is unusable gives no keys, and `check` raises what is wrong with it."""
        self._file = KeyFile(path)
        self._catalog = catalog
        self._keys: dict[str, ApiKey] = {}
        self._some = asyncio.Event()
        self._mark: Mark = None
        self._wrong: StoreError | None = None
        self.on_revoke: Callable[[str], None] = lambda user: None
        self.look()

    def check(self) -> None:
        """Raise StoreError where the file was unusable when it was looked at last."""
        if self._wrong is not None:
            raise self._wrong

    def look(self) -> None:
        """Read the file again if it has changed."""
        try:
            mark = self._file.mark()
            if mark != self._mark or self._wrong is not None:
                self._take(self._file.read())
                self._mark, self._wrong = mark, None  # as it was before: what has changed since is read next time
        except StoreError as error:
            if str(error) != str(self._wrong):
                logger.error("%s", error)
            self._wrong = error

    async def watch(self) -> None:
        """Look at the file every second, for those who hold streams open and ask nothing; as long as there are keys."""
        while True:
            await self._some.wait()
            await asyncio.sleep(LOOK_S)
            self.look()

    def list(self) -> "list[ApiKey]":
        """All keys, revoked ones too, the oldest first. Raises StoreError."""
        self.look()
        self.check()
        return sorted(self._keys.values(), key=lambda key: (key.created_at, key.id))

    async def create(
        self, user: str, *, name: str = "", scope: Scope = Scope.FULL, endpoints: Sequence[str] = ()
    ) -> tuple[ApiKey, str]:
        """Make a key; returns what is remembered of it and the key itself, which cannot be had again.

        Raises:
            ConfigError: the user cannot be called so, or the endpoints do not fit the scope or are not that user's.
            StoreError: it could not be written; there is no such key.
        """
        self.check_new(user, scope, endpoints)
        key_id = secrets.token_hex(8)
        text = f"flash_{key_id}_{secrets.token_urlsafe(32)}"
        key = ApiKey(key_id, user, name, scope, tuple(endpoints), _digest(text.encode()), time.time())
        await self._file.change(lambda keys: (*keys, key))
        self.look()
        return key, text

    async def revoke(self, key_id: str) -> ApiKey | None:
        """Refuse a key from now on; returns it as it is then, None where there is none. Raises StoreError."""
        now = time.time()

        def revoked(key: ApiKey) -> ApiKey:
            return replace(key, revoked_at=now) if key.id == key_id and key.revoked_at is None else key

        await self._file.change(lambda keys: tuple(map(revoked, keys)))
        self.look()
        return self._keys.get(key_id)

    def principal(self, given: bytes) -> Principal | None:
        """Who comes with this key; None where it is none, or revoked. Takes as long for unknown ids as for others."""
        self.look()
        named = _KEY.fullmatch(given)
        key = self._keys.get(named[1].decode()) if named is not None else None
        fits = hmac.compare_digest(_digest(given), key.digest if key is not None else _NO_DIGEST)
        return key.principal if key is not None and fits and key.revoked_at is None else None

    def check_new(self, user: str, scope: Scope, endpoints: Sequence[str]) -> None:
        """Raise ConfigError where there can be no such key now."""
        if not USER_NAME.fullmatch(user):
            raise ConfigError(f"user is {user!r:.80}; it must be 1 to 64 characters of a-z, 0-9, '.', '_' and '-'")
        if (scope is Scope.ENDPOINT) != bool(endpoints):
            raise ConfigError(f"a key of scope '{Scope.ENDPOINT}', and no other, names its endpoints")
        own = {record.id for record in self._catalog.list(owner=user)}
        for endpoint_id in endpoints:
            if endpoint_id not in own:
                raise ConfigError(f"endpoints has {endpoint_id!r:.80}; user {user} has no endpoint of this id")

    def _take(self, keys: Iterable[ApiKey]) -> None:
        before, self._keys = self._keys, {key.id: key for key in keys}
        if self._keys:
            self._some.set()
        else:
            self._some.clear()
        valid = {key.id for key in self._keys.values() if key.revoked_at is None}
        for user in sorted({key.user for key in before.values() if key.revoked_at is None and key.id not in valid}):
            self.on_revoke(user)


def _digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()
