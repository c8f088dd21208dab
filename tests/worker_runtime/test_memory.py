"""What memory counts, what is too much, what the kernel has killed: over real processes and made-up files."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_runtime import memory

MB = memory.MB
NOBODY_S_PID = 2**30

PROGRAM = """
import mmap, os, sys, threading
def hold(megabytes): return b"x" * (megabytes << 20)
def settle():
    os.write(1, b"%d\\n" % os.getpid())
    sys.stdin.read()
def forked(work):
    if os.fork() == 0:
        kept = work()
        settle()
        os._exit(0)
"""


@contextmanager
def running(code: str, count: int, *arguments: str) -> Iterator[tuple[int, set[int]]]:
    """A process, and how many have settled when all have, itself included; gives its pid and those of the others."""
    command = [sys.executable, "-S", "-c", f"{PROGRAM}\n{code}\nsettle()", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.pid, {int(process.stdout.readline()) for _ in range(count)} - {process.pid}


# ---- processes


def test_a_process_counts_with_what_it_holds_and_the_one_above_it_does_not() -> None:
    with running("kept = hold(80); forked(lambda: hold(60))", 2) as (root, others):
        assert set(memory.below(root)) == others
        assert memory.resident(root) >= 60 * MB
        assert 60 * MB <= memory.exact(root) < 140 * MB


@pytest.mark.parametrize("told", [True, False], ids=["children files", "no children files"])
def test_children_of_children_and_of_other_threads_are_found(
    told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not told:
        monkeypatch.setattr(memory, "_PROC", tmp_path)
    code = "threading.Thread(target=lambda: (forked(lambda: forked(int)), settle())).start()"
    with running(code, 4) as (root, others):
        assert len(others) == 2
        assert set(memory.below(root)) == others


SHARED = """
def share():
    kept = hold(80)
    for _ in range(3):
        forked(int)
    return kept
forked(share)
"""


def test_what_forked_processes_share_counts_once() -> None:
    with running(SHARED, 5) as (root, _):
        assert memory.resident(root) >= 4 * 80 * MB
        assert 80 * MB <= memory.exact(root) < 140 * MB
        assert memory.measure(root, 150 * MB).used < 150 * MB
        assert memory.measure(root, 70 * MB).used >= 80 * MB


def test_shared_memory_counts_once_and_pages_of_files_do_not(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(60 * MB))
    mapped = """
def read():
    found = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)
    return found, found[::4096]
forked(read)
"""
    with running(mapped, 2, str(file)) as (root, _):
        assert memory.resident(root) >= 60 * MB
        assert memory.exact(root) < 30 * MB
    shared = "shared = mmap.mmap(-1, 60 << 20)" + "\nforked(lambda: shared.write(hold(60)))" * 2
    with running(shared, 3) as (root, _):
        assert memory.resident(root) >= 120 * MB
        assert 60 * MB <= memory.exact(root) < 100 * MB


def test_a_glance_is_enough_where_little_is_used_and_says_nothing_above_the_limit() -> None:
    with running("kept = hold(80); forked(int)", 2) as (root, _):
        measured = memory.glance(root, 1000 * MB)
        assert measured is not None
        assert measured.used >= 80 * MB
        assert memory.glance(root, 60 * MB) is None
        assert not memory.measure(root, 60 * MB).cheap


def test_a_look_that_took_long_is_not_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0005, 1.0, 1.1])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    looks = [memory.glance(NOBODY_S_PID, MB) for _ in range(2)]
    assert [look is not None and look.cheap for look in looks] == [True, False]


def test_who_has_ended_counts_nothing() -> None:
    assert memory.below(NOBODY_S_PID) == []
    assert memory.resident(NOBODY_S_PID) == memory.exact(NOBODY_S_PID) == 0
    assert memory.measure(NOBODY_S_PID, MB).used == 0


@pytest.mark.parametrize("rollup", [None, "nothing that is known\n"])
def test_where_shares_are_not_told_what_is_shared_does_not_count(
    rollup: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_PROC", tmp_path)
    monkeypatch.setattr(memory, "below", lambda root: [5])
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "statm").write_text("1000 500 200 1 0 400 0\n")
    if rollup is not None:
        (tmp_path / "5" / "smaps_rollup").write_text(rollup)
    page = os.sysconf("SC_PAGE_SIZE")
    assert (memory.resident(1), memory.exact(1)) == (500 * page, 300 * page)


def test_a_process_that_is_just_being_started_shows_too_much_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([200, 120])
    monkeypatch.setattr(memory, "resident", lambda root: 300)
    monkeypatch.setattr(memory, "exact", lambda root: next(looks))
    assert memory.measure(1, 150).used == 120


# ---- rules


@pytest.mark.parametrize(
    ("used", "cost_s", "pause_s"),
    [
        (0, 0.0, memory.LONG_PAUSE_S),
        (50, 0.0, memory.LONG_PAUSE_S),
        (51, 0.0, memory.SHORT_PAUSE_S),
        (900, 0.0, memory.SHORT_PAUSE_S),
        (51, 0.1, 2.0),
        (0, 0.1, 2.0),
    ],
)
def test_the_nearer_the_limit_the_sooner_and_what_costs_much_is_done_seldom(
    used: int, cost_s: float, pause_s: float
) -> None:
    assert memory.pause_s(used, 100, cost_s) == pytest.approx(pause_s)


@given(st.integers(0, 2**40), st.integers(1, 2**40), st.floats(0, 100))
def test_measuring_never_takes_more_than_a_twentieth_of_the_time(used: int, limit: int, cost_s: float) -> None:
    assert memory.pause_s(used, limit, cost_s) >= max(19 * cost_s, memory.SHORT_PAUSE_S)


def test_the_words_say_what_was_used_what_is_allowed_and_what_to_do() -> None:
    said = memory.too_much(3 * 1024 * MB, 2 * 1024 * MB)
    assert "used 3 GB of memory and its size allows 2 GB (cpu= of the endpoint)" in said
    assert "choose a larger cpu= size" in said


@given(st.integers(1, 2**20))
def test_the_words_never_say_that_as_much_was_used_as_is_allowed(excess: int) -> None:
    limit = 4 * 1024 * MB
    used = float(memory.too_much(limit + excess, limit).split(" used ")[1].split(" GB")[0])
    assert used > 4


# ---- what the kernel has killed

FIRST = "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"
SECOND = "low 0\nhigh 0\nmax 9\noom 4\noom_kill 2\noom_group_kill 0\n"
MACHINE = "nr_free_pages 100\noom_kill 7\noom_killed 8\n"


@pytest.mark.parametrize(
    ("lines", "files", "count"),
    [
        pytest.param("0::/a/b\n", {"a/b/memory.events": SECOND}, 2, id="version 2"),
        pytest.param("0::/a/b\n", {"memory.events": SECOND}, 2, id="version 2, seen from inside of a container"),
        pytest.param("0::/a\n", {"a/memory.events": SECOND, "memory.events": "oom_kill 9\n"}, 2, id="the nearest"),
        pytest.param(
            "4:memory:/a\n1:cpu:/c\n0::/b\n",
            {"memory/a/memory.oom_control": FIRST, "b/memory.events": SECOND}, 5, id="version 1 rules memory",
        ),
        pytest.param("4:cpu,memory:/x\n", {"memory/memory.oom_control": FIRST}, 5, id="version 1 in a container"),
        pytest.param("4:cpu:/x\n0::/a\n", {"a/memory.events": SECOND}, 2, id="both, version 2 rules memory"),
        pytest.param("4:memory:/\n", {"memory/memory.oom_control": "under_oom 0\n"}, 7, id="an old kernel"),
        pytest.param("0::/\n", {}, 7, id="no group"),
        pytest.param("0::/../../up\n", {}, 7, id="a group outside of what is seen"),
        pytest.param(None, {"memory.events": SECOND}, 7, id="no groups at all"),
    ],
)  # fmt: skip
def test_what_the_kernel_has_killed_is_counted_as_near_as_possible(
    lines: str | None, files: dict[str, str], count: int, tmp_path: Path
) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "vmstat").write_text(MACHINE)
    if lines is not None:
        (proc / "self" / "cgroup").write_text(lines)
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text)
    assert memory.oom_kills(proc, groups) == count


def test_where_nothing_is_counted_nothing_was_killed(tmp_path: Path) -> None:
    assert memory.oom_kills(tmp_path, tmp_path) == 0


def test_this_machine_s_own_count_can_be_read() -> None:
    assert memory.oom_kills() >= 0
