"""Finding, starting and stopping a control plane, with a stand-in program and real processes."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_flash import plane_start
from runpod_flash.backends import daemon
from runpod_flash.errors import BackendUnavailable
from runpod_flash.release import package_folders
from runpod_flash.state_folder import PlaneRecord, StateFolder, process_started
from tests.support.place import ROOT
from tests.support.processes import end_processes
from tests.support.waiting import wait_until

CONTENT = "c" * 64
STAND_IN = ROOT / "tests/support/stand_in_plane.py"
ENV = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "SECRET": "s", "FLASH_API_KEY": "k", "FLASH_IDLE_EXIT_S": "5"}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateFolder]:
    yield StateFolder(tmp_path / "home", CONTENT)
    end_processes(tmp_path)


def ensure(state: StateFolder, mode: str = "serve", deadline_s: float = 20.0) -> PlaneRecord:
    command = [sys.executable, "-P", str(STAND_IN), state.content, mode]
    return asyncio.run(daemon.ensure(state, ENV, command=command, deadline_s=deadline_s))


def starts(state: StateFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (state.home / "starts").read_text().splitlines()]


def test_it_is_started_once_and_found_again(state: StateFolder) -> None:
    assert daemon.running(state) is None
    first = ensure(state)
    assert ensure(state, "fail") == first == daemon.running(state)
    assert daemon.reach(first) == f"unix:{state.socket}"
    (start,) = starts(state)
    assert start["cwd"] == str(state.home)
    assert start["sid"] not in (os.getsid(0), 0), "detached from our session"
    assert start["env"]["FLASH_HOME"] == str(state.home)
    assert start["env"]["FLASH_IDLE_EXIT_S"] == "5"
    assert not {"SECRET", "FLASH_API_KEY"} & set(start["env"])
    assert daemon.stop(state)
    assert not first.alive
    assert daemon.running(state) is None
    assert not daemon.stop(state)


def test_it_outlives_its_starter_and_leaves_no_zombie(state: StateFolder) -> None:
    record = ensure(state)
    os.kill(record.pid, signal.SIGKILL)
    wait_until(lambda: not record.alive, 5)
    with pytest.raises(ChildProcessError):
        os.waitpid(record.pid, os.WNOHANG)
    assert ensure(state).pid != record.pid, "a record of a dead process is no control plane"


def test_many_at_once_start_one(state: StateFolder) -> None:
    command = [sys.executable, "-P", str(STAND_IN), CONTENT, "serve"]
    program = (
        "import asyncio, pathlib\n"
        "from runpod_flash.backends import daemon\n"
        "from runpod_flash.state_folder import StateFolder\n"
        f"state = StateFolder(pathlib.Path({str(state.home)!r}), {CONTENT!r})\n"
        f"print(asyncio.run(daemon.ensure(state, {ENV!r}, command={command!r})).pid)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(4)
    ]
    assert len({process.communicate(timeout=30)[0] for process in running}) == 1
    assert len(starts(state)) == 1


def test_many_on_one_loop_start_one(state: StateFolder) -> None:
    command = [sys.executable, "-P", str(STAND_IN), CONTENT, "serve"]

    async def main() -> set[int]:
        records = await asyncio.gather(*(daemon.ensure(state, ENV, command=command) for _ in range(5)))
        return {record.pid for record in records}

    assert len(asyncio.run(main())) == 1


def test_a_lock_whose_holder_died_does_not_count(state: StateFolder) -> None:
    state.prepare()
    program = (
        "import fcntl, os, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(state.start_lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.kill()
    holder.communicate()
    assert ensure(state).alive


def test_a_lock_that_is_held_has_a_deadline(state: StateFolder) -> None:
    state.prepare()
    with state.start_lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BackendUnavailable, match=r"start\.lock"):
            ensure(state, deadline_s=0.1)


def test_the_cause_it_names_is_told(state: StateFolder) -> None:
    with pytest.raises(BackendUnavailable, match=r"could not start: the disk is full$"):
        ensure(state, "fail")
    state.log.write_text("error: an old one\n")
    with pytest.raises(BackendUnavailable, match=r"last words:(.|\n)*RuntimeError: unexpected(.|\n)*plane\.log"):
        ensure(state, "die")
    assert "old one" in state.log.read_text()
    assert state.log.read_text().count("Traceback") == 1, "it would raise that again, so it is not tried again"


def test_one_that_is_killed_while_it_starts_is_started_again(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "_STARTS", 2)
    with pytest.raises(BackendUnavailable, match="could not start: it said nothing"):
        ensure(state, "shot")
    (state.home / "shots").unlink()
    monkeypatch.setattr(daemon, "_STARTS", 3)
    assert ensure(state, "shot").alive


def test_one_that_never_answers_is_ended(state: StateFolder) -> None:
    with pytest.raises(BackendUnavailable, match="did not answer in time"):
        ensure(state, "hang", deadline_s=1.0)
    wait_until(lambda: not [pid for pid in pids_of(state) if pid], 5, "it is gone")


def pids_of(state: StateFolder) -> list[int]:
    marks = os.fsencode(state.home)
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if b"FLASH_HOME=" + marks in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_one_that_lives_but_does_not_answer_is_named(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "_SILENT_S", 0.2)
    with pytest.raises(BackendUnavailable, match="did not answer"):
        ensure(state, "deaf", deadline_s=1.0)
    record = record_of_a_deaf_one(state)
    with pytest.raises(
        BackendUnavailable, match=rf"process {record.pid}\) runs but does not answer.*flash server stop"
    ):
        ensure(state)


def test_one_that_is_ending_is_waited_for(state: StateFolder) -> None:
    """It has withdrawn its record but still lets its jobs finish."""
    state.prepare()
    command = [sys.executable, "-P", str(STAND_IN), CONTENT, "serve"]

    async def main() -> PlaneRecord:
        with state.plane_lock.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            starting = asyncio.create_task(daemon.ensure(state, ENV, command=command))
            await asyncio.wait([starting], timeout=0.2)
            assert not starting.done()
        return await starting

    assert asyncio.run(main()).alive


def test_one_that_does_not_come_to_its_end_is_named(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "_SILENT_S", 0.1)
    state.prepare()
    with state.plane_lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BackendUnavailable, match=r"plane\.lock.*does not answer"):
            ensure(state)


def record_of_a_deaf_one(state: StateFolder) -> PlaneRecord:
    process = subprocess.Popen(["sleep", "60"], cwd=state.home, env={**ENV, "FLASH_HOME": str(state.home)})
    started = process_started(process.pid)
    assert started is not None
    record = PlaneRecord(process.pid, started, "2.0.0", CONTENT, 1, 9, str(state.socket), str(state.worker_socket))
    state.write_record(record)
    process.returncode = 0  # the fixture ends it
    return record


def test_a_lost_socket_leaves_the_port(state: StateFolder) -> None:
    record = ensure(state)
    os.unlink(record.socket)
    assert daemon.reach(record) == f"tcp:127.0.0.1:{record.port}"


def test_a_stubborn_one_is_killed(state: StateFolder) -> None:
    record = ensure(state, "stubborn")
    assert daemon.stop(state, margin_s=0.2, now=True)
    assert not record.alive
    assert state.read_record() is None


def test_all_versions_of_a_home_are_listed(state: StateFolder) -> None:
    older = StateFolder(state.home, "0" * 64)
    ensure(older)
    ensure(state)
    assert [folder.plane for folder, _ in daemon.all_running(state)] == [state.plane, older.plane]
    for folder, _ in daemon.all_running(state):
        assert daemon.stop(folder)
    assert daemon.all_running(state) == []


def test_changed_files_are_noticed(state: StateFolder) -> None:
    with pytest.raises(BackendUnavailable, match="have changed"):
        asyncio.run(daemon.ensure(state, ENV))


def test_the_environment_is_an_allow_list() -> None:
    given = {
        "PATH": "p", "LC_ALL": "l", "XDG_RUNTIME_DIR": "x", "https_proxy": "h", "NO_PROXY": "n", "CUDA_HOME": "c",
        "UV_INDEX": "u", "FLASH_PORT": "1", "FLASH_TARGET": "t", "PYTHONPATH": "y", "AWS_SECRET": "a",
        "VIRTUAL_ENV": "v",
    }  # fmt: skip
    found = plane_start.plane_environment(given, Path("/home/x"), package_folders())
    assert set(given) - set(found) == {"FLASH_TARGET", "AWS_SECRET", "VIRTUAL_ENV"}
    assert found["FLASH_HOME"] == "/home/x"
    assert found["PYTHONPATH"] == str(ROOT)
    assert "PYTHONPATH" not in plane_start.plane_environment(given, Path("/home/x"))


def test_without_an_interpreter_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(BackendUnavailable, match="interpreter"):
        plane_start.default_command(StateFolder(Path("/h"), CONTENT))
