"""What a worker alone may read (credentials of a user's own storage) is stored sealed, with a key in a file of ours."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runpod_flash import lazy
from runpod_flash.control_plane.secret_file import ensure_secret
from runpod_flash.control_plane.store import StoreError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet


class SealBroken(StoreError):
    """A sealed text cannot be opened: it was changed, or sealed with another key. The message names the key file."""


class Seal:
    """Seals and opens. The key is made when something is sealed for the first time, and read once."""

    def __init__(self, key_path: Path) -> None:
        self._path = key_path
        self._fernet: Fernet | None = None

    def seal(self, mapping: Mapping[str, Any]) -> str:
        """The mapping as text that tells nothing but about how long it is. It must be JSON.

        Raises:
            StoreError: the key file cannot be read or written, holds no key, or other users can read it.
            StoreFull: the disk is full.
        """
        return self._key().encrypt(json.dumps(dict(mapping)).encode()).decode()

    def open(self, text: str) -> dict[str, Any]:
        """What was sealed.

        Raises:
            SealBroken: the text was not sealed with the key that is in the file now.
            StoreError: the key file cannot be read, holds no key, or other users can read it.
        """
        if self._fernet is None and not self._path.exists():
            raise SealBroken(f"{self._complaint()}: that file is gone")
        try:
            opened = json.loads(self._key().decrypt(text.encode()))
        except (_fernet().InvalidToken, ValueError):
            raise SealBroken(f"{self._complaint()}: it was sealed with another key, or was changed") from None
        if not isinstance(opened, dict):
            raise SealBroken(f"{self._complaint()}: it holds something else")
        return opened

    def _complaint(self) -> str:
        return (
            f"the sealed part of a job cannot be opened with the key in {self._path}; "
            "put the earlier key file back, or submit the job again"
        )

    def _key(self) -> "Fernet":
        if self._fernet is None:
            key = ensure_secret(self._path, lambda: _fernet().Fernet.generate_key().decode())
            try:
                self._fernet = _fernet().Fernet(key)
            except ValueError:
                raise StoreError(
                    f"key file {self._path} holds no key for sealing; remove it and a new one is made, with which "
                    "nothing can be opened that was sealed before"
                ) from None
        return self._fernet


def _fernet() -> Any:
    """cryptography.fernet, which takes longer to import than a control plane has that starts for a first call."""
    return lazy.load("cryptography.fernet")
