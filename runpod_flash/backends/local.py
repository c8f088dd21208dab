"""The embedded control plane of this machine: found or started, then it is HTTP over a unix socket."""

import fcntl
import functools
import os
from pathlib import Path

from runpod_flash import release
from runpod_flash.backends import daemon
from runpod_flash.backends.clients import Address
from runpod_flash.backends.http import HttpBackend
from runpod_flash.backends.memory import SharedMemory
from runpod_flash.errors import BackendUnavailable
from runpod_flash.output import of_program
from runpod_flash.settings import Settings
from runpod_flash.state_folder import StateFolder

_PATIENCE_S = 10.0  # one that leaves because it was idle may do so between being found and being asked


def state_folder(settings: Settings) -> StateFolder:
    """The state folder of this user and this content of the package."""
    return StateFolder(settings.home, release.content_hash(), settings.runtime_home)


async def connect(settings: Settings, project: Path | str) -> HttpBackend:
    """Find or start the control plane and connect to it; names are those of `project`.

    Raises:
        BackendUnavailable: it cannot be started; the message has the cause.
    """
    state, output = state_folder(settings), of_program(settings.logs)

    async def locate() -> Address:
        with output.waiting("flash", "starting the control plane"):
            record = await daemon.ensure(state, settings.environ)
        _stay(state.programs_lock)
        calls = record.calls if os.path.exists(record.calls) else None  # a cleaner of temporary folders may come by
        return _address(state, daemon.reach(record), calls)

    backend = HttpBackend(
        locate,
        output,
        shares_machine=True,
        default_queue_delay=0.0,
        project=project,
        patience_s=_PATIENCE_S,
        directly=settings.direct,
        memory=SharedMemory(state.arena_socket, state.read_key, lambda message: output.notice(_full(message))),
    )
    await backend.open()
    return backend


@functools.cache
def _stay(lock: Path) -> int:
    """Share a lock as long as this program lives. Its control plane stays, too, when a newer one has come beside it.

    Else it would leave between two event loops, and files that have changed since cannot start it again.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _full(message: str) -> dict[str, str]:
    return {"key": "arena-full", "message": message}


def _address(state: StateFolder, way: str | None, calls: str | None = None) -> Address:
    key = state.read_key()
    if key is None:
        raise BackendUnavailable(
            f"the control plane runs but its key {state.key_path} cannot be read; run `flash server stop` and try again"
        )
    platform = "the embedded control plane"
    hint = f"its key is {state.key_path}; stop it with `flash server stop` and try again"
    kind, _, place = (way or f"unix:{state.socket}").partition(":")
    if kind == "unix":
        return Address("http://flash", key, platform, hint, socket=place, calls=calls)
    return Address(f"http://{place}", key, platform, hint)
