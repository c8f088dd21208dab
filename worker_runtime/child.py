"""The child as a program: sets up its paths and logging, then runs the calls that its parent sends.

python … -c BOOT bundle setup       `setup` is JSON: link, code, overlay, max_concurrency, pickles, name
"""

import faulthandler
import importlib
import io
import json
import logging
import platform
import site
import socket
import sys
from collections.abc import Mapping
from typing import Any

from worker_runtime import packages_seen, system
from worker_runtime.channel import Channel
from worker_runtime.execute import Artifacts
from worker_runtime.runners import Concurrent
from worker_runtime.serial import Serial
from worker_runtime.wire import messages


def main() -> None:
    """Run calls until the parent says drain. The parent's end is noticed by init, which ends this process."""
    bundle, setup = sys.argv[1], json.loads(sys.argv[2])
    set_paths(setup["code"], setup["overlay"], bundle)
    live(setup)


def live(setup: Mapping[str, Any]) -> None:
    """The same, where the paths are set."""
    sys.argv = [setup["name"]]
    channel = Channel(socket.socket(fileno=setup["link"]))
    channel.keep_to_this_program()
    tickets, aside = channel.receive_ends()
    faulthandler.enable()
    system.wake_in_time()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpcore"):  # which name every request, those of our own client too
        logging.getLogger(chatty).setLevel(logging.WARNING)
    concurrency = setup["max_concurrency"]
    if concurrency > 1:
        _write_whole_lines()
    artifacts = Artifacts(pickles=setup["pickles"])
    several = Concurrent(channel, artifacts, concurrency) if concurrency > 1 else None
    runner = several or Serial(channel, artifacts, tickets, aside)
    before = frozenset(sys.modules)
    channel.after_first = lambda: _tell_packages(channel, before)
    channel.send({"type": messages.READY, "python": platform.python_version()})
    runner.run()


def _tell_packages(channel: Channel, before: frozenset[str]) -> None:
    if modules := packages_seen.names(before):
        channel.send({"type": messages.LOADED, "modules": modules})


def _write_whole_lines() -> None:
    """Write a printed line in one piece, so that the lines of several threads do not mix."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, write_through=False)


def set_paths(code: str, overlay: str | None, bundle: str) -> None:
    """Order sys.path: the user's modules, the overlay, the interpreter's own, and at the end what this runtime brings.

    The runtime itself was imported from the bundle before; it does not depend on the order.
    """
    set_package_paths(overlay, bundle)
    sys.path.insert(0, code)
    importlib.invalidate_caches()


def set_package_paths(overlay: str | None, bundle: str) -> None:
    """The same, without the user's modules."""
    own = [path for path in sys.path if path != bundle]
    sys.path[:] = own
    if overlay is not None:
        site.addsitedir(overlay)  # as a site-packages folder: its .pth files count
    added = [path for path in sys.path if path not in own]
    sys.path[:] = [*added, *own, bundle]
    importlib.invalidate_caches()
