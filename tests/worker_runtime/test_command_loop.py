"""Workers whose child is a command: what it is given, what is told of it, and that nothing of it is left."""

import asyncio
import os
import shlex
import signal
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.worker_runtime.scripted_plane import Plane, by_name
from tests.worker_runtime.test_keeper import both, needs_namespaces
from worker_runtime.wire import messages


def command(folder: Path, line: str, *, isolate: bool = True, **settings: Any) -> Plane:
    """A worker with a command."""
    return Plane(folder, isolate=isolate, settings={"command": line, **settings})


def python(code: str) -> str:
    """A shell command line that runs Python code."""
    return shlex.join([sys.executable, "-u", "-c", textwrap.dedent(code)])


async def end_of(plane: Plane) -> tuple[str, int]:
    """The reason that is told, and the worker's exit code."""
    gone, _ = await plane.frame("gone")
    assert gone["jobs"] == []
    code = await plane.process.wait()
    await plane.nothing_left()
    assert not Path(plane.launch.folder).exists()
    return gone["reason"], code


@both
def test_a_command_starts_at_once_with_its_environment_folder_and_cores(short_folder: Path, isolate: bool) -> None:
    line = """echo "on port $PORT"; pwd; env | cut -d= -f1 | sort; wc -c; readlink /proc/$$/fd/* | cut -d: -f1
grep Cpus_allowed_list /proc/self/status"""
    env = {"PORT": "8123", "PATH": os.defpath}

    async def main() -> None:
        async with command(short_folder, line, isolate=isolate, env=env, cpus=(0,)) as plane:
            assert await end_of(plane) == ("exited with code 0", 0)
            assert plane.lines(job=None) == [
                "on port 8123", f"{plane.launch.folder}/run", "PATH", "PORT", "PWD", "0", "/dev/null", "pipe", "pipe",
                "Cpus_allowed_list:\t0",
            ]  # fmt: skip
            assert set(plane.kinds()) == {"hello", "log", "gone"}

    asyncio.run(main())


@both
@pytest.mark.parametrize("line", ["exit 3", "sleep 61117"])
def test_what_it_started_elsewhere_is_ended_at_last(short_folder: Path, isolate: bool, line: str) -> None:
    """Whether the command ends by itself or with its worker; it has ended when the farewell runs."""
    note = short_folder / "note"
    bye = ("/bin/sh", "-c", f'pgrep -f "[s]leep 61117" > {note}; echo "$MARK" >> {note}')

    async def main() -> None:
        env = {"PATH": os.defpath, "MARK": "remembered"}
        async with command(short_folder, f"echo up; {line}", isolate=isolate, env=env, farewell=bye) as plane:
            await plane.until(lambda: plane.lines("stdout", None) == ["up"], "its start")
            if line != "exit 3":
                plane.process.send_signal(signal.SIGTERM)
            await end_of(plane)

    asyncio.run(main())
    assert note.read_text() == "remembered\n"


@pytest.mark.parametrize(
    ("line", "reason", "code"),
    [
        ("exit 0", "exited with code 0", 0),
        ("echo last words >&2; exit 7", "exited with code 7", 1),
        ("kill -SEGV $$", "killed by signal 11 (SIGSEGV)", 1),
        ("kill -TERM $$", "killed by signal 15 (SIGTERM)", 1),
        ("no-such-program", "exited with code 127", 1),
    ],
)
def test_how_a_command_ended_is_told(short_folder: Path, line: str, reason: str, code: int) -> None:
    async def main() -> None:
        async with command(short_folder, line) as plane:
            assert await end_of(plane) == (reason, code)
            gone, _ = await plane.frame("gone")
            assert gone["stderr"] == plane.lines("stderr")
            assert ("last words" in gone["stderr"]) is (code == 1 and "7" in reason and "127" not in reason)

    asyncio.run(main())


def test_a_command_is_beaten_for_and_its_output_is_seen_while_it_runs(short_folder: Path) -> None:
    async def main() -> None:
        async with command(short_folder, "echo out; echo err >&2; sleep 600", beat_s=0.05) as plane:
            await plane.until(lambda: plane.lines("stdout", None) == ["out"], "its output")
            await plane.until(lambda: plane.lines("stderr", None) == ["err"], "its errors")
            begun = len(plane.frames)
            await plane.until(lambda: len(plane.frames) >= begun + 3, "beats")
            assert {header["type"] for _, header, _ in plane.frames[begun:]} == {messages.BEAT}

    asyncio.run(main())


def test_the_working_directory_is_the_one_of_the_launch(short_folder: Path) -> None:
    async def main() -> None:
        async with command(short_folder, "pwd", directory="/usr") as plane:
            await end_of(plane)
            assert plane.lines() == ["/usr"]

    asyncio.run(main())


@pytest.mark.parametrize(("name", "why"), [("absent", "No such file or directory"), ("file", "Not a directory")])
def test_a_working_directory_that_cannot_be_entered_is_named(short_folder: Path, name: str, why: str) -> None:
    (short_folder / "file").touch()

    async def main() -> None:
        async with command(short_folder, "echo never", directory=str(short_folder / name)) as plane:
            reason, code = await end_of(plane)
            assert f"its working directory {short_folder / name} cannot be entered: {why}" in reason
            assert code == 1
            assert plane.lines("stdout") == []

    asyncio.run(main())


# ---- drain


STOPS_SLOWLY = """
import os, signal, sys, time
def stop(*_):
    print("stopping")
    time.sleep(0.3)
    print("stopped")
    sys.exit(3)
signal.signal(signal.SIGTERM, stop)
print("up")
while True:
    signal.pause()
"""


@both
@pytest.mark.parametrize("before", ["exec ", "", "true; "])
@pytest.mark.parametrize("after", ["", "; true"])
def test_drain_gives_a_command_time_to_stop(short_folder: Path, isolate: bool, before: str, after: str) -> None:
    """The shell itself ends at SIGTERM, before what it runs has."""

    async def main() -> None:
        async with command(short_folder, f"{before}{python(STOPS_SLOWLY)}{after}", isolate=isolate) as plane:
            await plane.until(lambda: "up" in plane.lines(), "the program")
            await plane.send({"type": messages.DRAIN})
            await plane.send({"type": messages.DRAIN})
            assert await plane.process.wait() == 0
            assert plane.lines() == ["up", "stopping", "stopped"]
            assert "gone" not in plane.kinds()
            await plane.nothing_left()

    asyncio.run(main())


STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: print("no"))
print("up")
while True:
    time.sleep(0.01)
"""


@both
def test_drain_kills_a_command_that_does_not_stop(short_folder: Path, isolate: bool) -> None:
    async def main() -> None:
        async with command(short_folder, f"exec {python(STUBBORN)}", isolate=isolate, drain_s=0.5) as plane:
            await plane.until(lambda: "up" in plane.lines(), "the program")
            await plane.send({"type": messages.DRAIN})
            assert await plane.process.wait() == 0
            assert plane.lines() == ["up", "no"]
            assert "gone" not in plane.kinds()
            await plane.nothing_left()

    asyncio.run(main())


def test_drain_ends_a_command_that_is_stopped(short_folder: Path) -> None:
    async def main() -> None:
        async with command(short_folder, "echo up; kill -STOP $$; sleep 600", drain_s=60) as plane:
            await plane.until(lambda: "up" in plane.lines(), "the command")
            await plane.send({"type": messages.DRAIN})
            assert await plane.process.wait() == 0
            await plane.nothing_left()

    asyncio.run(main())


def test_drain_that_comes_with_the_welcome_ends_the_command(short_folder: Path) -> None:
    async def main() -> None:
        async with command(short_folder, "sleep 600", drain_s=60) as plane:
            await plane.send({"type": messages.DRAIN})
            assert await plane.process.wait() == 0
            await plane.nothing_left()

    asyncio.run(main())


# ---- nothing is left


LEAVES_SESSIONS = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.setsid()
        print("in a session of its own")
        time.sleep(600)
"""


@both
@pytest.mark.parametrize("ending", ["link", "sigterm", "sigkill", "drain", "command"])
def test_grandchildren_in_sessions_of_their_own_end_with_the_worker(
    short_folder: Path, isolate: bool, ending: str
) -> None:
    line = f"{python(LEAVES_SESSIONS)}; read line < go; exit 4"
    os.mkfifo(short_folder / "go")

    async def main() -> None:
        async with command(short_folder, line, isolate=isolate, directory=str(short_folder)) as plane:
            await plane.until(lambda: len(plane.lines()) == 3, "all of them")
            assert len(plane.left_over()) >= 4
            if ending == "link":
                (await plane._connected).close()
            elif ending == "drain":
                await plane.send({"type": messages.DRAIN})
            elif ending == "command":
                (short_folder / "go").write_text("\n")
                assert await end_of(plane) == ("exited with code 4", 1)
            else:
                plane.process.send_signal({"sigterm": signal.SIGTERM, "sigkill": signal.SIGKILL}[ending])
            await plane.nothing_left()
            await plane.process.wait()
            assert Path(plane.launch.folder).exists() is (ending == "sigkill")

    asyncio.run(main())


def test_sigterm_of_the_worker_ends_a_stubborn_command_at_once(short_folder: Path) -> None:
    async def main() -> None:
        async with command(short_folder, f"exec {python(STUBBORN)}", drain_s=600) as plane:
            await plane.until(lambda: "up" in plane.lines(), "the program")
            plane.process.send_signal(signal.SIGTERM)
            assert await end_of(plane) == ("it was ended by SIGTERM", 0)

    asyncio.run(main())


@both
def test_a_command_that_uses_more_memory_than_its_worker_has_is_ended(short_folder: Path, isolate: bool) -> None:
    line = python("import time; kept = b'x' * (400 << 20); print('kept'); time.sleep(600)")

    async def main() -> None:
        async with command(short_folder, line, isolate=isolate, memory_mb=256) as plane:
            reason, code = await end_of(plane)
            assert "its size allows 0.25 GB" in reason
            assert code == 0

    asyncio.run(main())


# ---- what is refused


@pytest.mark.parametrize("kind", ["artifact", "run", "cancel", "drop", "forget", "nonsense"])
def test_frames_that_are_for_calls_are_an_error(short_folder: Path, kind: str) -> None:
    async def main() -> None:
        async with command(short_folder, "sleep 600") as plane:
            await plane.send({"type": kind, "job": "job1", "attempt": 1, "instance": "i", "id": "a"})
            reason, code = await end_of(plane)
            assert f"the control plane sent a frame of type '{kind}'" in reason
            assert code == 1

    asyncio.run(main())


@pytest.mark.parametrize("line", ["echo never", None])
def test_a_worker_that_must_isolate_does_not_start_without_namespaces(short_folder: Path, line: str | None) -> None:
    settings = {"command": line, "must_isolate": True}

    async def main() -> None:
        async with Plane(short_folder, isolate=False, settings=settings) as plane:
            assert await plane.process.wait() == 2
            assert plane.process.stderr is not None
            said = (await plane.process.stderr.read()).decode()
            assert "cannot start: user code must be isolated here, and there are no namespaces: " in said
            assert plane.frames == []
            await plane.nothing_left()

    asyncio.run(main())


@needs_namespaces
@pytest.mark.parametrize("line", ["cat hello", None])
def test_a_worker_that_must_isolate_works_where_there_are_namespaces(short_folder: Path, line: str | None) -> None:
    (short_folder / "hello").write_text("hello")
    settings = {"command": line, "must_isolate": True, "directory": str(short_folder)}

    async def main() -> None:
        async with Plane(short_folder, settings=settings) as plane:
            if line is None:
                assert await plane.call(by_name("add"), 1) == 3
            else:
                assert await end_of(plane) == ("exited with code 0", 0)
                assert plane.lines() == ["hello"]

    asyncio.run(main())
