"""The worker as a program: reads its launch from standard input, forks what must be forked, runs the loop."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace

from worker_runtime import isolation, keeper, system
from worker_runtime.call_loop import CallWorker
from worker_runtime.command_loop import CommandWorker
from worker_runtime.init import ChildBegins
from worker_runtime.keeper import NoVolume, StartError
from worker_runtime.loop import Worker, complain
from worker_runtime.serve_loop import ServingWorker
from worker_runtime.wire import tracing
from worker_runtime.wire.specs import WorkerLaunch

_BAD_LAUNCH = 2
_NO_VOLUME = 3


def main() -> None:
    """Run one worker to its end; started by `worker_runtime.launch_command`."""
    _await_signals()
    try:
        launch = read_launch(sys.stdin.buffer.readline())
    except ValueError as error:
        complain(f"cannot start: {error}")
        sys.exit(_BAD_LAUNCH)
    sys.exit(_run(launch, lambda: launch.token, isolate="--no-namespaces" not in sys.argv, child_forks=False))


def run_forked(text: bytes, token: Callable[[], str], *, isolate: bool, child_forks: bool) -> int:
    """Run one worker to its end, in a process that was forked for it; gives its exit code.

    `text` is the launch without its token, which is asked for when the init process has been forked: what runs user
    code never has it. An empty one: nobody wants the worker any more. With `child_forks` this raises
    `init.ChildBegins` in the process that becomes the child.
    """
    _await_signals()
    try:
        return _run(read_launch(text), token, isolate=isolate, child_forks=child_forks)
    except ValueError as error:
        complain(f"cannot start: {error}")
        return _BAD_LAUNCH
    except SystemExit as end:  # SIGTERM before the loop runs
        return end.code if isinstance(end.code, int) else 1


def read_launch(text: bytes) -> WorkerLaunch:
    """Read the line of JSON that describes a launch. Raises ValueError (WireError is one)."""
    data = json.loads(text or b"{}")
    return WorkerLaunch.from_json(data if isinstance(data, dict) else {})


def _await_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the control plane's to handle
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the loop has its own way


def _run(launch: WorkerLaunch, token: Callable[[], str], *, isolate: bool, child_forks: bool) -> int:
    is_worker = True
    try:
        return _hold(launch, token, isolate=isolate, child_forks=child_forks)
    except StartError as error:
        complain(f"cannot start: {error}")
        return _NO_VOLUME if isinstance(error, NoVolume) else _BAD_LAUNCH
    except (Unwanted, ChildBegins) as other:  # the folder is another's, or this is another process
        is_worker = False
        if isinstance(other, ChildBegins):
            raise
        return 0
    finally:
        if is_worker:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            _remove(launch.folder)


def _hold(launch: WorkerLaunch, token: Callable[[], str], *, isolate: bool, child_forks: bool) -> int:
    held = keeper.start(launch, isolate=isolate, child_forks=child_forks)
    try:
        known = replace(launch, token=token())
        if not known.token:
            raise Unwanted
        seen = [*launch.hidden, *([launch.private] if launch.private else [])]
        if held.why_plain is not None and seen:
            complain(f"no namespaces here ({held.why_plain}); user code can see {', '.join(seen)}")
        if held.why_plain is not None and launch.readonly:
            complain(f"no namespaces here: user code can change {', '.join(launch.readonly)}")
        isolation.forbid_inspection()
        return asyncio.run(_live(known, held))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        held.destroy()


class Unwanted(Exception):
    """Whoever asked for this worker has started another in its place."""


async def _live(launch: WorkerLaunch, held: keeper.Keeper) -> int:
    if name := launch.env.get(tracing.VARIABLE):
        tracing.begin(name)
    system.give_way()  # the child has written a result, and is about to begin the next call
    return await _kind(launch)(launch, held).run()


def _kind(launch: WorkerLaunch) -> type[Worker]:
    if launch.command is not None:
        return CommandWorker
    return ServingWorker if launch.port else CallWorker


def _remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.isdir(folder):
        for path, _, _ in os.walk(folder):  # user code may have taken away its own right to write
            with contextlib.suppress(OSError):
                os.chmod(path, 0o700)
        shutil.rmtree(folder, ignore_errors=True)
    if os.path.isdir(folder):
        complain(f"{folder} cannot be removed")


if __name__ == "__main__":
    main()
