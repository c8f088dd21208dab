"""Who runs the control plane of a state folder: one process at a time."""

import contextlib
import fcntl
from collections.abc import Iterator
from typing import IO

from runpod_flash.errors import BackendUnavailable
from runpod_flash.state_folder import StateFolder


@contextlib.contextmanager
def sole_owner(state: StateFolder) -> Iterator[None]:
    """Hold the lock that says: this process alone runs the control plane of this folder. Raises BackendUnavailable."""
    file: IO[str]
    with open(state.plane_lock, "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackendUnavailable(
                f"another control plane already runs on {state.plane}; use it or set FLASH_HOME"
            ) from None
        try:
            yield
        finally:
            state.remove_record()
