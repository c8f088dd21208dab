"""The program that runs a control plane. Its failures to start are one line on stderr and exit code 1."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import Final

import uvloop

from runpod_flash import lazy, release
from runpod_flash.control_plane import bundle, interpreters, settings
from runpod_flash.control_plane.launchers.fork_server import FORKS, Spawned, own_kind
from runpod_flash.control_plane.ownership import sole_owner
from runpod_flash.errors import BackendUnavailable, ConfigError, FlashError
from runpod_flash.state_folder import StateFolder
from worker_runtime.wire import tracing

COLLECT: Final = (5_000, 20, 20)
"""Thresholds of the garbage collector. Jobs are freed without it; of ten thousand that wait it would look at each again
and again.
"""


async def _live(chosen: settings.PlaneSettings, state: StateFolder) -> None:
    ahead = _Ahead(chosen, state)
    ahead.begin()
    try:
        server = lazy.load("runpod_flash.control_plane.server")
    finally:
        spawned = ahead.spawned()
    gc.freeze()
    gc.set_threshold(*COLLECT)
    gc.enable()
    await server.ControlPlane(chosen, state, spawned).run()


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """Raises ConfigError."""
    options = dict(zip(arguments[::2], arguments[1::2], strict=False))
    if len(arguments) % 2 or not options.keys() <= {"--holding", "--content"}:
        raise ConfigError(
            f"the control plane was started with {' '.join(arguments)!r}; variables set it, and it takes nothing "
            "but --holding N and --content HASH, each once"
        )
    return options


def main(arguments: Sequence[str] = ()) -> int:
    """Run a control plane until it is asked to stop.

    `arguments`: pairs of an option and its value. "--holding": the descriptor of a lock, which is closed when the state
    folder is its own; "--content": the hash that the package has to have, as whoever starts this knows it.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        chosen = settings.load()
        if chosen.trace:
            tracing.begin(chosen.trace)
        options = _options(arguments)
        state = StateFolder(chosen.home, release.content_hash(), chosen.runtime_home)
        if options.get("--content", state.content) != state.content:
            raise BackendUnavailable(
                "the files of runpod_flash have changed since the program that starts this control plane read them; "
                "start that program again"
            )
        state.prepare()
        with sole_owner(state), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            if "--holding" in options:
                os.close(int(options["--holding"]))
            runner.run(_live(chosen, state))
    except (FlashError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


class _Ahead:
    """What the first call needs, made ready by the disk and other processors while all the rest is imported here."""

    def __init__(self, chosen: settings.PlaneSettings, state: StateFolder) -> None:
        self._chosen, self._state = chosen, state
        self._spawned: Spawned | None = None
        self._workers = threading.Thread(target=self._prepare_workers)
        asked = (sys.executable, chosen.base_env, state.environments)
        self._interpreter = threading.Thread(target=interpreters.ask_ahead, args=asked, daemon=True)

    def begin(self) -> None:
        """Start."""
        self._workers.start()
        self._interpreter.start()

    def spawned(self) -> Spawned | None:
        """The fork server, where one could be started. The interpreter's answer may come later."""
        self._workers.join()
        return self._spawned

    def _prepare_workers(self) -> None:
        with contextlib.suppress(OSError):  # whoever needs it then hears why
            folder = bundle.ensure(self._state.bundle)
            if FORKS and self._chosen.forks:
                self._spawned = Spawned(own_kind(folder))
