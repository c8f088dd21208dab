"""The worker's parent over a real child: outcomes, output, cancelling, deadlines, endings."""

import array
import asyncio
import contextlib
import fcntl
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.worker_runtime.scripted_plane import ROOT, Plane, bundle, by_name, by_value, is_error, kill
from tests.worker_runtime.user_code import Oops
from worker_runtime import launch_command, memory
from worker_runtime.wire import messages, paths
from worker_runtime.wire.jobs import ErrorKind
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest


def test_a_worker_says_hello_ready_started_done_in_this_order(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            assert await plane.call(by_name("add"), 1, c=5) == 8
            assert plane.kinds() == ["hello", "ready", "started", "done"]
            hello = plane.frames[0][1]
            assert (hello["worker"], hello["token"], hello["pid"]) == ("w1", "secret", plane.process.pid)

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_the_parent_does_not_take_the_processor_from_user_code(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            assert await plane.call(by_value(lambda: os.sched_getscheduler(0))) == os.sched_getscheduler(0)
            assert os.sched_getscheduler(plane.process.pid) == os.SCHED_BATCH

    asyncio.run(main())


def test_a_worker_over_tcp(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder, tcp=True) as plane:
            big = b"x" * 3_000_000
            assert await plane.call(by_name("same"), big) == big

    asyncio.run(main())


def test_every_kind_of_failure_leaves_the_worker_working(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            info = is_error(await plane.call(by_name("fail"), 7), ErrorKind.USER, "user_code.Oops")
            assert info.message == "oops 7"
            assert "a note on the cause" in info.traceback
            assert "direct cause" in info.traceback
            assert "worker_runtime" not in info.traceback
            assert info.exception is not None
            odd = is_error(await plane.call(by_name("fail_oddly")), ErrorKind.USER, "user_code.Unrebuildable")
            assert odd.exception is None
            is_error(await plane.call(by_name("leave"), 3), ErrorKind.USER, "SystemExit")
            is_error(await plane.call(by_name("interrupt")), ErrorKind.USER, "KeyboardInterrupt")
            is_error(await plane.call(by_name("close_generator")), ErrorKind.USER, "GeneratorExit")
            is_error(await plane.call(by_name("recurse")), ErrorKind.USER, "RecursionError")
            is_error(await plane.call(by_name("no_memory")), ErrorKind.USER, "MemoryError")
            is_error(await plane.call(by_name("leave_in_a_task")), ErrorKind.USER, "SystemExit")
            is_error(await plane.call(by_name("lock")), ErrorKind.UNPICKLABLE_RESULT, "TypeError")
            is_error(await plane.call(by_name("generate")), ErrorKind.UNPICKLABLE_RESULT)
            is_error(await plane.call(by_name("absent")), ErrorKind.LOAD, "AttributeError")
            is_error(await plane.call(by_name("add")), ErrorKind.USER, "TypeError")
            assert await plane.call(by_name("add_async"), 1, 2) == 3
            assert await plane.call(by_name("wrapped_async"), 1, 2) == 3
            assert await plane.call(by_name("shadowed"), 1) == 3
            assert plane.kinds().count("gone") == 0

    asyncio.run(main())


def test_output_of_every_origin_comes_before_the_result_and_belongs_to_the_call(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            job = await plane.start(by_name("write_everywhere"))
            assert await plane.outcome(job) == "done"
            # C flushes when the call ends: its place among the others is its own
            lines = plane.lines("stdout", job)
            assert [line for line in lines if line != "from C"] == [
                "from print", "from a subprocess", "from os.write", "no newline",
            ]  # fmt: skip
            assert "from C" in lines
            assert plane.lines("stderr", job) == ["INFO mine: from logging"]
            assert plane.kinds()[-1] == "done"

    asyncio.run(main())


def test_output_is_seen_while_the_call_runs(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            job = await plane.start(by_name("write_slowly"), 0.6)
            await plane.until(lambda: plane.lines() == ["begun"], "first half of the line")
            assert "done" not in plane.kinds()
            await plane.outcome(job)
            assert plane.lines("stdout", job) == ["begun", " and ended"]

    asyncio.run(main())


def test_much_output_arrives_whole_in_batches(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            job = await plane.start(by_name("write_much"), 20_000)
            await plane.outcome(job)
            assert plane.lines("stdout", job) == [str(number) for number in range(20_000)]
            assert plane.kinds().count("log") < 2_000

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "argument", "reason"),
    [
        ("exit_hard", 3, "exited with code 3"),
        ("exit_hard", 0, "exited with code 0"),
        ("kill_self", signal.SIGKILL, "killed by signal 9 (SIGKILL)"),
        ("kill_self", signal.SIGSEGV, "killed by signal 11 (SIGSEGV)"),
    ],
)
def test_a_child_that_ends_is_reported_and_the_worker_ends(
    short_folder: Path, name: str, argument: int, reason: str
) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            job = await plane.start(by_name(name), int(argument))
            gone, _ = await plane.frame("gone")
            assert (gone["reason"], gone["jobs"]) == (reason, [job])
            if name == "exit_hard":
                assert gone["stderr"] == ["last words"]
                assert plane.lines("stderr", job) == ["last words"]
            assert await plane.process.wait() == 1
            await plane.nothing_left()
            assert not Path(plane.launch.folder).exists()

    asyncio.run(main())


def test_an_interpreter_that_does_not_exist_is_reported(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder, settings={"python": "/no/such/python"}) as plane:
            await plane.start(by_name("add"), 1)
            gone, _ = await plane.frame("gone")
            assert "cannot start /no/such/python: " in gone["reason"]
            assert gone["stderr"] == [gone["reason"]]

    asyncio.run(main())


def test_cancel_stops_plain_code_coroutines_and_waiting_calls_and_nothing_else(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            for name, sign in (("spin", "spinning"), ("sleep", "sleeping"), ("sleep_async", None)):
                job = await plane.start(by_name(name), 60)
                waiting = await plane.start(by_name("remember"), "never")
                await plane.frame("started", job=job)
                if sign:
                    await plane.until(lambda job=job, sign=sign: sign in plane.lines(job=job), sign)
                await plane.send({"type": messages.CANCEL, "job": waiting, "attempt": 1})
                is_error(await plane.outcome(waiting), ErrorKind.CANCELLED)
                await plane.send({"type": messages.CANCEL, "job": job, "attempt": 1})
                await plane.send({"type": messages.CANCEL, "job": job, "attempt": 1})
                is_error(await plane.outcome(job), ErrorKind.CANCELLED)
                await plane.send({"type": messages.CANCEL, "job": job, "attempt": 1})
                assert await plane.call(by_name("add"), 1) == 3
            assert await plane.call(by_name("remember"), "last") == ["last"]

    asyncio.run(main())


def test_cancel_of_another_attempt_is_ignored(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            job = await plane.start(by_name("spin"), 0.3, attempt=2)
            await plane.frame("started", job=job)
            await plane.send({"type": messages.CANCEL, "job": job, "attempt": 1})
            assert await plane.outcome(job) == "spun"

    asyncio.run(main())


def test_a_race_of_cancels_never_hits_the_next_call(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            await plane.call(by_name("add"), 1)
            for _ in range(60):
                cancelled = await plane.start(by_name("add"), 1)
                following = await plane.start(by_name("spin"), 0.002)
                await plane.send({"type": messages.CANCEL, "job": cancelled, "attempt": 1})
                assert await plane.outcome(following) == "spun"
                outcome = await plane.outcome(cancelled)
                assert outcome == 3 or is_error(outcome, ErrorKind.CANCELLED)

    asyncio.run(main())


def test_cancel_kills_what_does_not_stop(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            job = await plane.start(by_name("spin_stubbornly"), 60)
            waiting = await plane.start(by_name("add"), 1)
            await plane.until(lambda: "stubborn" in plane.lines(), "user code")
            await plane.send({"type": messages.CANCEL, "job": job, "attempt": 1})
            is_error(await plane.outcome(job), ErrorKind.CANCELLED)
            gone, _ = await plane.frame("gone")
            assert gone["jobs"] == [waiting]
            await plane.nothing_left()

    asyncio.run(main())


def test_a_call_that_holds_the_gil_is_beaten_for_and_can_be_killed(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder, settings={"beat_s": 0.1, "cancel_grace_s": 1.0}) as plane:
            job = await plane.start(by_name("hold_the_gil"), 60_000_000)
            await plane.until(lambda: "holding" in plane.lines(), "start of the call")
            begun = len(plane.frames)
            await plane.until(lambda: len(plane.frames) >= begun + 3, "beats: the interpreter is held by now")
            await plane.send({"type": messages.CANCEL, "job": job, "attempt": 1})
            is_error(await plane.outcome(job), ErrorKind.CANCELLED)
            beats = [time for time, header, _ in plane.frames[begun:] if header["type"] == messages.BEAT]
            assert len(beats) >= 7
            assert max(after - before for before, after in itertools.pairwise(beats)) < 0.9, "less than it was held for"
            await plane.frame("gone")

    asyncio.run(main())


def test_a_call_that_runs_too_long_is_killed(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            assert await plane.call(by_name("add"), 1, timeout_ms=30_000) == 3
            job = await plane.start(by_name("sleep"), 60, timeout_ms=300)
            info = is_error(await plane.outcome(job), ErrorKind.TIMED_OUT)
            assert "0.3 s" in info.message
            assert plane.lines(job=job) == ["sleeping"]
            gone, _ = await plane.frame("gone")
            assert gone["jobs"] == []
            assert plane.kinds()[-2:] == ["done", "gone"]

    asyncio.run(main())


def test_drain_lets_calls_finish_and_closes_instances(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            job = await plane.start(by_name("spin"), 0.3)
            await plane.frame("started", job=job)
            await plane.send({"type": messages.DRAIN})
            assert await plane.outcome(job) == "spun"
            assert await plane.process.wait() == 0
            assert "gone" not in plane.kinds()
            await plane.nothing_left()
            assert not Path(plane.launch.folder).exists()

    asyncio.run(main())


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_result_that_was_sent_just_before_the_child_ended_counts(short_folder: Path, size: int) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            job = await plane.start(by_name("end_after_answers"), 1, size)
            waiting = await plane.start(by_name("add"), 1)
            assert await plane.outcome(job) == b"x" * size
            gone, _ = await plane.frame("gone")
            assert (gone["reason"], gone["jobs"]) == ("exited with code 7", [waiting])
            assert plane.kinds()[-2:] == ["done", "gone"]

    asyncio.run(main())


def test_results_that_wait_for_a_slow_control_plane_outlive_a_call_that_is_sent_to_the_dead_child(
    short_folder: Path,
) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            await plane.call(by_name("add"), 1)
            stream = (await plane._connected).transport
            stream.pause_reading()  # type: ignore[attr-defined]  # typed as one that cannot read
            jobs = [await plane.start(by_name("end_after_answers"), 2, size) for size in (20_000_000, 10)]
            await _until(
                lambda: not any(b'"link"' in _command(pid) for pid in plane.left_over()), "the child has ended"
            )
            late = await plane.start(by_name("add"), 1)
            await _until(lambda: _unread(stream.get_extra_info("socket").fileno()) == 0, "the parent has got the call")
            stream.resume_reading()  # type: ignore[attr-defined]
            assert [len(await plane.outcome(job)) for job in jobs] == [20_000_000, 10]
            gone, _ = await plane.frame("gone")
            assert (gone["reason"], gone["jobs"]) == ("exited with code 7", [late])

    asyncio.run(main())


async def _until(condition: Callable[[], bool], what: str, deadline_s: float = 15.0) -> None:
    """Wait for what no frame tells."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.02)


def _unread(descriptor: int) -> int:
    """What was written to a socket and not read by the other side."""
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.TIOCOUTQ, count)
    return count[0]


@pytest.mark.parametrize("isolate", [True, False], ids=["namespaces", "plain"])
@pytest.mark.parametrize("name", ["fill", "fill_in_a_process"])
def test_a_call_that_uses_more_memory_than_its_worker_has_ends_and_is_told_so(
    short_folder: Path, name: str, isolate: bool
) -> None:
    async def main() -> None:
        async with Plane(short_folder, isolate=isolate, settings={"memory_mb": 256}) as plane:
            job = await plane.start(by_name(name), 400)
            waiting = await plane.start(by_name("add"), 1)
            info = is_error(await plane.outcome(job), ErrorKind.OUT_OF_MEMORY, "OutOfMemory")
            assert re.search(r"used 0\.\d+ GB of memory and its size allows 0\.25 GB", info.message)
            gone, _ = await plane.frame("gone")
            assert (gone["reason"], gone["jobs"]) == (info.message, [waiting])
            assert [header.get("ends") for _, header, _ in plane.frames if header["type"] == "done"] == [True]
            assert plane.kinds()[-2:] == ["done", "gone"]
            assert plane.lines("stdout", job) == ["filling"]
            assert await plane.process.wait() == 0
            await plane.nothing_left()

    asyncio.run(main())


def test_all_calls_that_ran_are_told_when_memory_runs_out_and_those_that_waited_are_not_blamed(
    short_folder: Path,
) -> None:
    async def main() -> None:
        async with Plane(short_folder, settings={"memory_mb": 256, "max_concurrency": 2}) as plane:
            running = [await plane.start(by_name("sleep"), 60), await plane.start(by_name("fill"), 400)]
            waiting = [await plane.start(by_name("add"), number) for number in range(2)]
            for job in running:
                is_error(await plane.outcome(job), ErrorKind.OUT_OF_MEMORY)
            gone, _ = await plane.frame("gone")
            assert gone["jobs"] == waiting
            assert plane.kinds()[-3:] == ["done", "done", "gone"]

    asyncio.run(main())


def test_memory_that_runs_out_between_calls_ends_the_worker_only(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder, settings={"memory_mb": 256}) as plane:
            assert await plane.call(by_name("fill_later"), str(short_folder / "go-on"), 400) == "left"
            (short_folder / "go-on").touch()
            gone, _ = await plane.frame("gone")
            assert "its size allows 0.25 GB" in gone["reason"]
            assert gone["jobs"] == []
            assert plane.kinds().count("done") == 1

    asyncio.run(main())


def test_a_call_that_stays_below_the_limit_is_left_alone(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder, settings={"memory_mb": 256}) as plane:
            assert await plane.call(by_name("fill"), 150, 7 * memory.SHORT_PAUSE_S) == "filled"
            assert await plane.call(by_name("add"), 1) == 3
            assert "gone" not in plane.kinds()

    asyncio.run(main())


def test_a_child_that_is_killed_for_another_reason_is_told_as_killed(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder, settings={"memory_mb": 256}) as plane:
            job = await plane.start(by_name("kill_self"), int(signal.SIGKILL))
            gone, _ = await plane.frame("gone")
            assert (gone["reason"], gone["jobs"]) == ("killed by signal 9 (SIGKILL)", [job])
            assert "done" not in plane.kinds()

    asyncio.run(main())


COUNTS_UP = """
def oom_kills(calls=[]):
    calls.append(None)
    return len(calls)
"""


@pytest.mark.parametrize(("number", "of_memory"), [(signal.SIGKILL, True), (signal.SIGSEGV, False)])
def test_a_child_that_the_system_kills_for_memory_is_told_as_such(
    short_folder: Path, number: int, of_memory: bool
) -> None:
    runtime = bundle(short_folder / "bundle") / "worker_runtime"
    runtime.unlink()
    shutil.copytree(ROOT / "worker_runtime", runtime)
    with (runtime / "memory.py").open("a") as file:
        file.write(COUNTS_UP)  # the kernel's count, one more each time that it is looked at

    async def main() -> None:
        async with Plane(short_folder) as plane:
            job = await plane.start(by_name("kill_self"), int(number))
            waiting = await plane.start(by_name("add"), 1)
            gone, _ = await plane.frame("gone")
            assert gone["jobs"] == ([waiting] if of_memory else [job, waiting])
            if of_memory:
                info = is_error(await plane.outcome(job), ErrorKind.OUT_OF_MEMORY, "OutOfMemory")
                assert info.message == gone["reason"] == memory.KILLED_BY_SYSTEM
            assert await plane.process.wait() == 1

    asyncio.run(main())


@contextlib.contextmanager
def _group(limit: int) -> Iterator[Path]:
    """A memory cgroup of the kernel's own, inside of this process's; the test is skipped where none can be made."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    first = [path for _, controllers, path in lines if "memory" in controllers.split(",")]
    path = next(iter([*first, *(path for number, _, path in lines if number == "0")]), "/")
    folder = Path("/sys/fs/cgroup", "memory" if first else "", path.lstrip("/"), f"flash-test-{os.getpid()}")
    try:
        folder.mkdir()
        (folder / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(limit))
    except OSError as error:
        if folder.exists():
            folder.rmdir()
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        yield folder
    finally:
        folder.rmdir()


def test_a_child_that_the_kernel_itself_kills_for_memory_is_told_as_such(short_folder: Path) -> None:
    async def main(group: Path) -> None:
        async with Plane(short_folder) as plane:
            await plane.frame("hello")
            for pid in plane.left_over():  # the parent and init; the child is not started yet
                (group / "cgroup.procs").write_text(str(pid))
            info = is_error(await plane.call(by_name("fill"), 400), ErrorKind.OUT_OF_MEMORY, "OutOfMemory")
            assert info.message == memory.KILLED_BY_SYSTEM
            assert await plane.process.wait() == 1
            await plane.nothing_left()

    with _group(200 * memory.MB) as group:
        asyncio.run(main(group))


@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("ending", ["link", "sigterm", "sigkill", "child"])
def test_nothing_survives_any_ending(short_folder: Path, isolate: bool, ending: str) -> None:
    async def main() -> None:
        async with Plane(short_folder, isolate=isolate) as plane:
            await plane.start(by_name("orphan_then_sleep"))
            await plane.until(lambda: "orphaned" in plane.lines(), "an orphan in a session of its own")
            assert len(plane.left_over()) >= 3  # parent, child, orphan
            if ending == "link":
                (await plane._connected).close()
            elif ending == "child":
                kill(next(pid for pid in plane.left_over() if b'"link"' in _command(pid)))
            else:
                plane.process.send_signal({"sigterm": signal.SIGTERM, "sigkill": signal.SIGKILL}[ending])
            await plane.nothing_left()
            await plane.process.wait()
            assert Path(plane.launch.folder).exists() is (ending == "sigkill")

    asyncio.run(main())


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended just now
        return b""


def test_code_that_changes_needs_no_new_worker_but_other_local_modules_do(short_folder: Path) -> None:
    def version(text: str) -> object:
        scope: dict[str, object] = {"__name__": "__main__"}
        exec(f"def f(): return {text!r}", scope)
        return scope["f"]

    async def main() -> None:
        async with Plane(short_folder) as plane:
            assert await plane.call(by_value(version("one"))) == "one"
            assert await plane.call(by_value(version("two"))) == "two"
            await plane.ship(by_name("add"))
            gone, _ = await plane.frame("gone")
            assert "other local modules" in gone["reason"]

    asyncio.run(main())


def test_an_artifact_with_a_wrong_id_is_refused(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            manifest = ArtifactManifest("function", "f", "0", EnvironmentRequest("3.11"), "m:f")
            await plane.ship(("0" * 64, paths.pack(manifest, None, {})))
            gone, _ = await plane.frame("gone")
            assert manifest.id in gone["reason"]

    asyncio.run(main())


@pytest.mark.parametrize("line", [b"", b"[]\n", b"{}\n", b"nonsense\n"])
def test_a_launch_that_cannot_be_read(line: bytes) -> None:
    done = subprocess.run(
        launch_command(sys.executable, str(ROOT)), input=line, check=False, stderr=subprocess.PIPE, timeout=20
    )
    assert done.returncode == 2
    assert b"cannot start" in done.stderr


def test_a_worker_without_a_control_plane_ends(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder, settings={"address": f"unix:{short_folder}/nobody"}) as plane:
            assert await plane.process.wait() == 2
            assert not Path(plane.launch.folder).exists()

    asyncio.run(main())


def test_exceptions_by_name_are_rebuilt_as_their_own_class() -> None:
    assert Oops(1).__reduce__()[0] is Oops
