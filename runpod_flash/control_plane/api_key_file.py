"""The file of API keys, shared by all control planes of a home: read whole, changed under a lock, in one step.

{"version": 1, "keys": [{"id": …, "user": …, "name": …, "scope": …, "endpoints": […], "digest": …, …}, …]}
"""

import asyncio
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from runpod_flash.control_plane.principals import Principal, Scope
from runpod_flash.control_plane.store import StoreError, disk_error
from runpod_flash.state_folder import write_private
from worker_runtime.commands import file_lock

USER_NAME: Final = re.compile(r"[a-z0-9._-]{1,64}")
"""What a user may be called."""

LOCK_S = 5.0
"""Seconds for which others may hold the lock."""

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
_WAY_OUT = "put an earlier copy back, or move it away, and then no key is valid and new ones can be made"

Mark = tuple[int, int, int] | None
"""Changes with the file; None where there is none."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is remembered. `name` says what it is for; times are seconds since the epoch."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    user: Annotated[str, Field(pattern=f"^{USER_NAME.pattern}$")]
    name: str
    scope: Scope
    endpoints: tuple[str, ...]  # ids, for the scope of single endpoints
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = field(repr=False)  # sha256; the key itself is nowhere
    created_at: float
    revoked_at: float | None = None

    @property
    def principal(self) -> Principal:
        """Who comes with it."""
        return Principal(self.user, self.scope, frozenset(self.endpoints))


@dataclass(frozen=True, slots=True)
class _Content:
    """The file as a whole. What has more fields than these is of another version."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    version: Literal[1]
    keys: tuple[ApiKey, ...]


_CONTENT: Final = TypeAdapter(_Content)


class KeyFileUnusable(StoreError):
    """The file cannot be read as one of keys. It stays as it is; the message names it."""


class KeyFile:
    """API keys on disk, for this user alone. Several processes may change them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def mark(self) -> Mark:
        """Whether it is the same as before. Takes microseconds. Raises StoreError."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        return found.st_ino, found.st_mtime_ns, found.st_size

    def read(self) -> tuple[ApiKey, ...]:
        """All keys in the order in which they were made; none where there is no file.

        Raises:
            KeyFileUnusable: it is damaged, of another version, or other users can read it.
            StoreError: it cannot be read.
        """
        try:
            with open(self._path, "rb") as file:
                shared, text = os.fstat(file.fileno()).st_mode & 0o077, file.read()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._unreadable(error) from error
        if shared:
            raise KeyFileUnusable(f"the file of API keys {self._path} is open to other users; say chmod 600 to it")
        try:
            keys = _CONTENT.validate_json(text).keys
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            raise KeyFileUnusable(
                f"the file of API keys {self._path} is damaged, or of another version of runpod-flash ({place}: "
                f"{first['msg']}); {_WAY_OUT}"
            ) from None
        if len({key.id for key in keys}) < len(keys):
            raise KeyFileUnusable(f"the file of API keys {self._path} is damaged (an id comes twice); {_WAY_OUT}")
        return keys

    async def change(self, change: Callable[[tuple[ApiKey, ...]], tuple[ApiKey, ...]]) -> None:
        """Replace the keys by what `change` makes of them as they are now; nobody else changes them meanwhile.

        Raises:
            KeyFileUnusable, StoreError, StoreFull: nothing was changed.
        """
        try:
            async with asyncio.timeout(LOCK_S) as waiting, file_lock(self._path.with_suffix(".lock")):
                waiting.reschedule(None)
                before = self.read()
                after = change(before)
                if after != before:
                    content = _CONTENT.dump_json(_Content(1, after), indent=1)
                    write_private(self._path, content, durable=True)
        except TimeoutError:
            raise StoreError(
                f"the file of API keys {self._path} is held by another process for {LOCK_S:.0f} s; try again"
            ) from None
        except OSError as error:
            raise disk_error(error, f"file of API keys {self._path}") from error

    def _unreadable(self, error: OSError) -> StoreError:
        return StoreError(f"the file of API keys {self._path} cannot be read: {error.strerror or error}")
