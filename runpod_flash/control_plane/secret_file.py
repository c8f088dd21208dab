"""A secret in a file of this user alone, made once."""

from collections.abc import Callable
from pathlib import Path

from runpod_flash.control_plane.store import StoreError, disk_error
from runpod_flash.state_folder import write_private


def ensure_secret(path: Path, make: Callable[[], str]) -> str:
    """The ASCII text in the file; what `make` gives where there is no file.

    Raises:
        StoreError: the file cannot be read or written, is empty, or other users can read it.
        StoreFull: the disk is full.
    """
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, make().encode())
        shared = path.stat().st_mode & 0o077
        secret = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise disk_error(error, f"key file {path}") from error
    if shared:
        raise StoreError(
            f"key file {path} can be read by other users, so its key is no secret; remove it and a new one is made"
        )
    if not secret or not secret.isascii():
        raise StoreError(f"key file {path} holds no key; remove it and a new one is made")
    return secret
