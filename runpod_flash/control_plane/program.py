"""The program that runs a control plane. Its failures to start are one line on stderr and exit code 1."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

import uvloop

from runpod_flash import lazy, release
from runpod_flash.control_plane import bundle, settings
from runpod_flash.control_plane.ownership import sole_owner
from runpod_flash.errors import FlashError
from runpod_flash.state_folder import StateFolder
from worker_runtime.wire import tracing


async def _live(server: Any, chosen: settings.PlaneSettings, state: StateFolder) -> None:
    await server.ControlPlane(chosen, state).run()


def main(arguments: Sequence[str] = ()) -> int:
    """Run a control plane until it is asked to stop.

    `arguments`: nothing, or "--holding N": the descriptor of a lock, which is closed when the state folder is its own.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        chosen = settings.load()
        if chosen.trace:
            tracing.begin(chosen.trace)
        state = StateFolder(chosen.home, release.content_hash(), chosen.runtime_home)
        state.prepare()
        with sole_owner(state), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            if arguments:
                os.close(int(arguments[1]))
            server = _server(state)
            runner.run(_live(server, chosen, state))
    except (FlashError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _server(state: StateFolder) -> Any:
    """The module of all the rest. While it is loaded, which takes a processor, the disk can fill the bundle."""
    filling = threading.Thread(target=_fill, args=[state])
    filling.start()
    try:
        server = lazy.load("runpod_flash.control_plane.server")
    finally:
        filling.join()
    gc.freeze()
    gc.enable()
    return server


def _fill(state: StateFolder) -> None:
    with contextlib.suppress(OSError):  # whoever needs it then hears why
        bundle.ensure(state.bundle)
