"""The worker as a program: reads its launch from standard input, forks what must be forked, runs the loop."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys

from worker_runtime import isolation, keeper
from worker_runtime.call_loop import CallWorker
from worker_runtime.command_loop import CommandWorker
from worker_runtime.keeper import NoVolume, StartError
from worker_runtime.loop import Worker, complain
from worker_runtime.serve_loop import ServingWorker
from worker_runtime.wire.specs import WorkerLaunch

_BAD_LAUNCH = 2
_NO_VOLUME = 3


def main() -> None:
    """Run one worker to its end; started by `worker_runtime.launch_command`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the control plane's to handle
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the loop has its own way
    try:
        data = json.loads(sys.stdin.buffer.readline() or b"{}")
        launch = WorkerLaunch.from_json(data if isinstance(data, dict) else {})
    except ValueError as error:
        complain(f"cannot start: {error}")
        sys.exit(_BAD_LAUNCH)
    try:
        sys.exit(_hold(launch, isolate="--no-namespaces" not in sys.argv))
    except StartError as error:
        complain(f"cannot start: {error}")
        sys.exit(_NO_VOLUME if isinstance(error, NoVolume) else _BAD_LAUNCH)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _remove(launch.folder)


def _hold(launch: WorkerLaunch, *, isolate: bool) -> int:
    held = keeper.start(launch, isolate=isolate)
    try:
        seen = [*launch.hidden, *([launch.private] if launch.private else [])]
        if held.why_plain is not None and seen:
            complain(f"no namespaces here ({held.why_plain}); user code can see {', '.join(seen)}")
        if held.why_plain is not None and launch.readonly:
            complain(f"no namespaces here: user code can change {', '.join(launch.readonly)}")
        isolation.forbid_inspection()
        return asyncio.run(_live(launch, held))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        held.destroy()


async def _live(launch: WorkerLaunch, held: keeper.Keeper) -> int:
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
