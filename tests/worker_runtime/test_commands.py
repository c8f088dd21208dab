"""Foreign programs end with those who wait for them; a lock holds among processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import wait_until
from worker_runtime.commands import file_lock, run_command

ENV = {"PATH": os.environ["PATH"]}

WITH_CHILD = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""

LOCK_HOLDER = """
import asyncio, pathlib, sys, time
from worker_runtime.commands import file_lock
async def main():
    async with file_lock(pathlib.Path(sys.argv[1])):
        print("locked", flush=True)
        time.sleep(600)
asyncio.run(main())
"""


def test_gives_status_and_both_outputs() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"

    result = asyncio.run(run_command([sys.executable, "-c", code], env=ENV))

    assert (result.status, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_gets_the_given_environment_and_no_input() -> None:
    code = "import os, sys; print(os.environ.get('HOME'), os.environ['A'], repr(sys.stdin.read()))"

    result = asyncio.run(run_command([sys.executable, "-c", code], env={"A": "b"}))

    assert result.stdout == "None b ''\n"


def test_does_not_wait_for_a_service_that_keeps_the_output_open(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = WITH_CHILD.rsplit("time.sleep", 1)[0]
    started = time.monotonic()

    asyncio.run(run_command([sys.executable, "-c", code, str(pid_file)], env=ENV))

    service = psutil.Process(int(pid_file.read_text()))
    service.kill()
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("grace_s", [0.0, 5.0])
def test_cancelling_ends_the_program_and_its_children(tmp_path: Path, grace_s: float) -> None:
    pid_file = tmp_path / "pid"

    async def main() -> None:
        command = [sys.executable, "-c", WITH_CHILD, str(pid_file)]
        task = asyncio.create_task(run_command(command, env=ENV, grace_s=grace_s))
        while not (pid_file.exists() and pid_file.read_text()):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    child = int(pid_file.read_text())
    wait_until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE, 10)


def test_what_a_killed_program_had_started_is_ended(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = WITH_CHILD.rsplit("time.sleep", 1)[0] + "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"

    result = asyncio.run(run_command([sys.executable, "-c", code, str(pid_file)], env=ENV))

    assert result.status == -signal.SIGKILL
    child = int(pid_file.read_text())
    wait_until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE, 10)


def test_a_program_that_does_not_exist_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(run_command(["/nowhere/at-all"], env=ENV))


def test_a_lock_excludes_others_in_the_same_process(tmp_path: Path) -> None:
    inside, most = 0, 0

    async def hold() -> None:
        nonlocal inside, most
        async with file_lock(tmp_path / "lock"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    async def main() -> None:
        await asyncio.gather(*(hold() for _ in range(5)))

    asyncio.run(main())

    assert most == 1


def test_a_lock_excludes_other_processes_and_is_free_when_its_holder_is_killed(tmp_path: Path) -> None:
    lock, root = tmp_path / "lock", Path(__file__).parents[2]
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK_HOLDER, str(lock)], cwd=root, stdout=subprocess.PIPE, text=True, env=ENV
    )
    assert holder.stdout is not None
    with holder:
        try:
            assert holder.stdout.readline() == "locked\n"

            async def take() -> None:
                async with file_lock(lock):
                    pass

            async def main() -> None:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(take(), 0.3)
                holder.kill()
                await asyncio.wait_for(take(), 20)

            asyncio.run(main())
        finally:
            holder.kill()
