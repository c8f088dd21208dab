"""Paths, the record and who may own what."""

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runpod_flash.errors import BackendUnavailable
from runpod_flash.state_folder import SOCKET_PATH_LIMIT, PlaneRecord, StateFolder, process_started, write_private
from tests.support.waiting import wait_until

CONTENT = "0123456789abcdef" * 4


def state_in(folder: Path) -> StateFolder:
    return StateFolder(folder / "home", CONTENT, folder / "run")


def record(**changes: Any) -> PlaneRecord:
    facts = {"pid": os.getpid(), "started": process_started(os.getpid()), "version": "2.0.0", "content": CONTENT}
    return PlaneRecord(**{**facts, "protocol": 1, "port": 7, "socket": "/s", "worker_socket": "/w", **changes})


def test_prepare_makes_private_folders(tmp_path: Path) -> None:
    state = state_in(tmp_path)
    state.prepare()
    state.prepare()
    for folder in (state.home, state.plane, state.blobs, state.environments, state.work, state.runtime):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert state.plane == tmp_path / "home/planes/0123456789ab"
    assert state.socket.parent == state.worker_socket.parent == state.runtime


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(BackendUnavailable, match=r"home.*set FLASH_HOME"):
        state_in(tmp_path).prepare()


@pytest.mark.skipif(not Path("/proc/1").exists(), reason="needs a folder that even root cannot write")
def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match=r"/proc/.*FLASH_HOME"):
        StateFolder(Path("/proc/flash"), CONTENT, tmp_path).prepare()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder in whose path sockets fit; pytest's own are too long."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="f") as folder:
        yield Path(folder)


def test_a_socket_folder_of_others_is_refused(short_folder: Path) -> None:
    state = state_in(short_folder)
    state.runtime.parent.mkdir(parents=True)
    state.runtime.parent.chmod(0o770)
    with pytest.raises(BackendUnavailable, match="not this user's alone"):
        state.prepare()


def test_a_socket_folder_that_is_a_link_is_refused(short_folder: Path) -> None:
    state = state_in(short_folder)
    state.runtime.parent.parent.mkdir()
    (short_folder / "elsewhere").mkdir(mode=0o700)
    state.runtime.parent.symlink_to(short_folder / "elsewhere")
    with pytest.raises(BackendUnavailable, match="not this user's alone"):
        state.prepare()


@given(st.text("abc/é", max_size=300))
def test_sockets_have_short_paths_wherever_the_home_is(name: str) -> None:
    for runtime in (None, Path("/run") / name.strip("/")):
        state = StateFolder(Path("/home") / name.strip("/"), CONTENT, runtime)
        assert len(os.fsencode(state.worker_socket)) <= SOCKET_PATH_LIMIT


def test_homes_and_contents_do_not_share_sockets(tmp_path: Path) -> None:
    states = [StateFolder(tmp_path / home, content) for home in "ab" for content in (CONTENT, CONTENT[::-1])]
    assert len({state.socket for state in states}) == 4


def test_without_a_runtime_folder_the_temporary_one_serves(tmp_path: Path) -> None:
    assert str(StateFolder(tmp_path, CONTENT).runtime).startswith((tempfile.gettempdir(), "/tmp"))


def test_record_comes_back(tmp_path: Path) -> None:
    state = state_in(tmp_path)
    assert state.read_record() is None
    state.prepare()
    state.write_record(record())
    assert state.read_record() == record()
    assert record().alive
    assert stat.S_IMODE(state.record_path.stat().st_mode) == 0o600
    assert [path.name for path in state.plane.iterdir()] == ["record.json"]
    state.remove_record()
    state.remove_record()
    assert state.read_record() is None


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(field=st.sampled_from(sorted(PlaneRecord.__slots__)), value=JSON, cut=st.integers(0, 200))
def test_a_damaged_record_is_none(tmp_path: Path, field: str, value: Any, cut: int) -> None:
    state = state_in(tmp_path)
    state.prepare()
    state.write_record(record())
    whole = state.record_path.read_bytes()
    state.record_path.write_bytes(whole[: min(cut, len(whole) - 1)])
    assert state.read_record() is None
    state.record_path.write_text(json.dumps({**json.loads(whole), field: value}))
    found = state.read_record()
    assert found is None or isinstance(value, type(getattr(record(), field)) | int)


def test_a_process_that_ended_is_not_alive() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = process_started(process.pid)
    assert started is not None
    found = record(pid=process.pid, started=started)
    assert found.alive
    assert not record(pid=process.pid, started=started - 60).alive, "another process under the same number"
    process.kill()
    wait_until(lambda: not found.alive, 5, "a zombie counts as ended")
    process.communicate()
    assert process_started(process.pid) is None


def test_others_finds_other_versions(tmp_path: Path) -> None:
    state, older = state_in(tmp_path), StateFolder(tmp_path / "home", "f" * 64, tmp_path / "run")
    for each in (state, older):
        each.prepare()
        each.write_record(record())
    assert [other.plane for other in state.others()] == [older.plane]


def test_key(tmp_path: Path) -> None:
    state = state_in(tmp_path)
    assert state.read_key() is None
    state.prepare()
    write_private(state.key_path, b"secret\n")
    assert state.read_key() == "secret"
    assert stat.S_IMODE(state.key_path.stat().st_mode) == 0o600
