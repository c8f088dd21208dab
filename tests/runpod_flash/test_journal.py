"""The record of submissions: many writers, torn lines, limits, and files that cannot be used."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash import journal
from runpod_flash.errors import BackendUnavailable
from runpod_flash.journal import Journal, Submission, path_of, read
from tests.support.place import ROOT


def never(message: str) -> None:
    raise AssertionError(message)


def journal_in(home: Path, tell: Callable[[str], None] = never) -> Journal:
    return Journal(home, "local", "/project", tell)


@pytest.fixture
def looks_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_LOOK_S", 0.0)


def test_a_submission_is_noted_before_and_after(tmp_path: Path) -> None:
    home, before = tmp_path / "not" / "there" / "yet", time.time()
    assert read(home) == []
    notes = journal_in(home)
    notes.submitting("k1", "infer", "ep1", "Model.predict")
    (noted,) = read(home)
    assert noted == Submission("k1", noted.time, "local", "/project", "infer", "ep1", "Model.predict")
    assert before - 1 < noted.time < time.time() + 1
    notes.submitting("k2", "infer", "ep1", "Model.predict")
    notes.acknowledged("k1", "job-1")
    assert [(each.key, each.job_id) for each in read(home)] == [("k1", "job-1"), ("k2", "")]
    assert path_of(home).stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_repeated_submission_keeps_its_place_and_has_its_newest_facts(tmp_path: Path) -> None:
    notes = journal_in(tmp_path)
    for key, endpoint_id in (("a", "old"), ("b", "old"), ("a", "new")):
        notes.submitting(key, "infer", endpoint_id, "f")
    assert [(each.key, each.endpoint_id) for each in read(tmp_path)] == [("a", "new"), ("b", "old")]


def test_any_text_can_be_noted(tmp_path: Path) -> None:
    odd = 'a"b\\c\n\u2028é\udcff{'
    notes = Journal(tmp_path, odd, odd, never)
    notes.submitting("k", odd, odd, odd)
    notes.acknowledged("k", odd)
    (noted,) = read(tmp_path)
    assert noted == Submission("k", noted.time, odd, odd, odd, odd, odd, odd)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
FOREIGN = (
    st.binary(max_size=40).map(lambda data: data.replace(b"\n", b""))
    | st.dictionaries(st.sampled_from(["key", "time", "job", "target", "x"]), SCALARS).map(
        lambda found: json.dumps({**found, "key": 5}).encode()
    )
    | st.just(b"[" * 100_000)
    | st.just(b'{"a":' * 100_000)
    | st.just(b'{"key":"k","time":' + b"9" * 400 + b"}")
    | st.just(b'{"key":"k","time":NaN,"target":"","project":"","endpoint":"","endpoint_id":"","function":""}')
)


@given(
    st.lists(
        st.tuples(st.just("ours"), st.booleans())
        | st.tuples(st.just("torn"), st.integers(1, 60))
        | st.tuples(st.just("foreign"), FOREIGN)
        | st.tuples(st.just("moved"), st.none()),
        max_size=25,
    )
)
def test_what_is_no_line_of_ours_is_left_out(tmp_path_factory: pytest.TempPathFactory, steps: list[Any]) -> None:
    home = tmp_path_factory.mktemp("home")
    path, wanted, moved = path_of(home), list[tuple[str, str]](), False
    notes, others = journal_in(home), journal_in(home)
    for number, (kind, how) in enumerate(steps):
        if kind == "ours":
            writer = (notes, others)[number % 2]
            writer.submitting(f"key-{number}", "infer", "ep", "f")
            if how:
                notes.acknowledged(f"key-{number}", f"job-{number}")
            wanted.append((f"key-{number}", f"job-{number}" if how else ""))
        elif kind == "moved" and not moved and path.exists():
            moved = True
            path.rename(journal._old(path))
            notes._look_at = others._look_at = 0.0
        elif kind in ("torn", "foreign"):
            line = (
                b'\n{"key":"torn","time":1.5,"target":"local","project":"/p","endpoint":"e"'[:how]
                if kind == "torn"
                else how
            )
            with path.open("ab") as file:
                file.write(line)
    assert [(each.key, each.job_id) for each in read(home)] == wanted
    notes.close()
    others.close()


WRITER = """
import sys, threading
from pathlib import Path
from runpod_flash import journal
journal.LIMIT, journal._LOOK_S = int(sys.argv[3]), 0.0
notes = journal.Journal(Path(sys.argv[1]), "local", "/p", sys.exit)
def write(thread):
    for number in range(250):
        key = f"{sys.argv[2]}-{thread}-{number}"
        notes.submitting(key, "e", "ep", "f")
        notes.acknowledged(key, key)
threads = [threading.Thread(target=write, args=[thread]) for thread in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_many_programs_and_threads_write_at_once_and_one_of_them_makes_room(tmp_path: Path) -> None:
    limit = 100_000
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, str(number), str(limit)], cwd=ROOT) for number in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    wanted = {f"{writer}-{thread}-{number}" for writer in range(3) for thread in range(2) for number in range(250)}
    files = [path_of(tmp_path), journal._old(path_of(tmp_path))]
    assert all(file.stat().st_size < 2 * limit for file in files)
    found = read(tmp_path)
    assert {each.key for each in found} <= wanted
    assert all(each.job_id in (each.key, "") for each in found)


def test_nothing_is_lost_when_it_is_moved_away_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, str(number), "180000"], cwd=ROOT) for number in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert journal._old(path_of(tmp_path)).exists()
    assert len(read(tmp_path)) == 3 * 2 * 250
    assert all(each.job_id == each.key for each in read(tmp_path))


@pytest.mark.usefixtures("looks_always")
def test_size_is_bounded_and_the_newest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LIMIT", 5_000)
    notes = journal_in(tmp_path)
    for number in range(500):
        notes.submitting(f"{number}", "infer", "ep", "f")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["submitted.jsonl", "submitted.jsonl.1"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2 * 5_300
    keys = [int(each.key) for each in read(tmp_path)]
    assert keys == list(range(keys[0], 500))
    assert len(keys) >= 30


@pytest.mark.usefixtures("looks_always")
def test_a_file_that_is_taken_away_is_made_again(tmp_path: Path) -> None:
    notes = journal_in(tmp_path / "home")
    for _ in range(3):
        notes.submitting("k", "infer", "ep", "f")
        assert len(read(tmp_path / "home")) == 1
        path_of(tmp_path / "home").unlink()
    (tmp_path / "home").rmdir()
    notes.submitting("k", "infer", "ep", "f")
    assert len(read(tmp_path / "home")) == 1
    notes.close()
    notes.close()
    notes.submitting("again", "infer", "ep", "f")
    assert len(read(tmp_path / "home")) == 2


def test_where_it_cannot_be_written_a_message_says_so_and_nothing_else_happens(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said: list[str] = []
    notes = journal_in(tmp_path / "file" / "home", said.append)
    notes.submitting("k", "infer", "ep", "f")
    notes.acknowledged("k", "job")
    assert len(said) == 2
    assert "submitted.jsonl cannot be written (Not a directory); calls go on" in said[0]


def test_a_full_disk_is_told_and_does_not_spoil_what_follows(tmp_path: Path) -> None:
    said: list[str] = []
    notes = journal_in(tmp_path, said.append)
    path_of(tmp_path).symlink_to("/dev/full")
    notes.submitting("k", "infer", "ep", "f")
    assert "No space left on device" in said[0]
    path_of(tmp_path).unlink()
    notes.close()
    notes.submitting("k2", "infer", "ep", "f")
    assert [each.key for each in read(tmp_path)] == ["k2"]


def test_what_cannot_be_read_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path_of(tmp_path).mkdir()
    with pytest.raises(BackendUnavailable, match=r"submitted\.jsonl, which says what was submitted.*FLASH_HOME"):
        read(tmp_path)


def test_a_line_survives_its_program(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from runpod_flash.journal import Journal\n"
        "Journal(Path(sys.argv[1]), 'local', '/p', print).submitting('k', 'e', 'ep', 'f'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [each.key for each in read(tmp_path)] == ["k"]


def test_a_forked_child_and_other_threads_write_to_the_same_file(tmp_path: Path) -> None:
    notes = journal_in(tmp_path)
    notes.submitting("parent", "e", "ep", "f")
    thread = threading.Thread(target=notes.submitting, args=["thread", "e", "ep", "f"])
    thread.start()
    thread.join()
    program = f"""
import os
from pathlib import Path
from runpod_flash.journal import Journal
notes = Journal(Path({str(tmp_path)!r}), "local", "/p", print)
notes.submitting("before", "e", "ep", "f")
if child := os.fork():
    os.waitpid(child, 0)
notes.submitting("after" if child else "child", "e", "ep", "f")
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    assert [each.key for each in read(tmp_path)] == ["parent", "thread", "before", "child", "after"]
