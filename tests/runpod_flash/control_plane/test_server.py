"""The control plane as a process: how it starts, what it leaves alone, how it ends."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from runpod_flash import release
from runpod_flash.control_plane import arena_file, server, settings
from runpod_flash.control_plane.blobs import Blobs
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.server import ControlPlane
from runpod_flash.control_plane.store import Store, StoreError
from runpod_flash.state_folder import PlaneRecord, StateFolder
from tests.support.place import ROOT
from tests.support.processes import no_process_left
from tests.support.waiting import wait_until


def state_of(home: Path) -> StateFolder:
    state = StateFolder(home, release.content_hash())
    state.prepare()
    return state


@contextmanager
def running(home: Path, **env: str) -> Iterator["subprocess.Popen[str]"]:
    """A control plane as a child of the test."""
    command = [sys.executable, "-P", "-m", "runpod_flash.control_plane"]
    base = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "FLASH_HOME": str(home)}
    process = subprocess.Popen(command, env={**base, **env}, stderr=subprocess.PIPE, text=True, cwd=home.parent)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def serving(state: StateFolder, process: "subprocess.Popen[str]") -> PlaneRecord:
    """The record of the control plane, once it answers."""

    def record() -> PlaneRecord | None:
        assert process.poll() is None, process.stderr and process.stderr.read()
        found = state.read_record()
        return found if found is not None and found.pid == process.pid and found.serving else None

    found = wait_until(record)
    assert found is not None
    return found


def test_its_whole_life(tmp_path: Path) -> None:
    state = state_of(tmp_path / "home")
    left = state.work / state.content[:12] / "w-of-a-killed-one"
    left.mkdir(parents=True)
    others = state.work / "of-another-version" / "w-1"
    others.mkdir(parents=True)
    state.socket.touch()  # left by one that was killed
    with running(state.home) as process:
        record = serving(state, process)
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (state.socket, state.key_path, state.database)]
        assert modes == [0o600, 0o600, 0o600]
        assert (left.exists(), others.exists()) == (False, True)
        headers = {"Authorization": f"Bearer {state.read_key()}"}
        for client in (
            httpx.Client(base_url=f"http://127.0.0.1:{record.port}", trust_env=False),
            httpx.Client(base_url="http://plane", transport=httpx.HTTPTransport(uds=str(state.socket))),
        ):
            with client:
                assert client.get("/flash/v1/capabilities").status_code == 401
                told = client.get("/flash/v1/capabilities", headers=headers).json()
                assert (told["pid"], told["content"]) == (process.pid, state.content)
        with running(state.home) as second:
            _, said = second.communicate(timeout=20)
            assert second.returncode == 1
            assert said.splitlines()[-1].startswith("error: another control plane already runs")
        assert state.read_record() == record
        process.terminate()
        assert process.wait(20) == 0
    assert state.read_record() is None
    assert not state.socket.exists()
    assert not state.worker_socket.exists()
    no_process_left(state.home)


@pytest.mark.slow
def test_it_leaves_when_nobody_has_been_here_for_a_while_but_not_before(tmp_path: Path) -> None:
    state = state_of(tmp_path / "home")
    with running(state.home, FLASH_IDLE_EXIT_S="0.5") as process:
        record = serving(state, process)
        headers = {"Authorization": f"Bearer {state.read_key()}"}
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{record.port}", trust_env=False, headers=headers) as client,
            client.stream("GET", "/flash/v1/events?client=c") as stream,
        ):
            assert stream.status_code == 200
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1.5)
        assert process.wait(20) == 0


def test_a_client_that_does_not_go_holds_up_no_stop(tmp_path: Path) -> None:
    state = state_of(tmp_path / "home")
    with running(state.home) as process:
        record = serving(state, process)
        with socket.create_connection(("127.0.0.1", record.port)) as idle:
            key = state.read_key()
            idle.sendall(f"GET /flash/v1/events?client=c HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n\r\n".encode())
            assert idle.recv(1000)
            started = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
            assert time.monotonic() - started < 8


def test_it_is_starting_then_serving_then_gone(tmp_path: Path) -> None:
    state = state_of(tmp_path / "home")
    seen = set[str]()
    with running(state.home) as process:

        def serves() -> bool:
            record = state.read_record()
            seen.add(record.state if record else "")
            return record is not None and record.serving

        wait_until(serves)
        process.terminate()
        assert process.wait(20) == 0
    assert seen <= {"", "starting", "serving"}
    assert "serving" in seen
    assert state.read_record() is None


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda state, _: state.database.write_bytes(b"no database" * 1000), "is damaged"),
        (lambda _, env: env.update(FLASH_LEASE_S="soon"), "FLASH_LEASE_S"),
        (lambda _, env: env.update(FLASH_FAKE_GPUS="many"), "FLASH_FAKE_GPUS"),
    ],
)
def test_what_it_cannot_start_with_is_one_line(
    tmp_path: Path, prepare: Callable[[StateFolder, dict[str, str]], Any], words: str
) -> None:
    state = state_of(tmp_path / "home")
    env: dict[str, str] = {}
    prepare(state, env)
    with running(state.home, **env) as process:
        _, said = process.communicate(timeout=20)
        last = said.splitlines()[-1]
        assert (process.returncode, last.startswith("error: "), words in last) == (1, True, True), said
        assert "Traceback" not in said
    assert state.read_record() is None


def test_a_second_one_on_the_same_journal_refuses_and_the_first_goes_on(tmp_path: Path) -> None:
    state = state_of(tmp_path / "home")
    first = Store.open(state.database)
    log = state.database.with_name(f"{state.database.name}-wal")
    jobs = [JobRecord(f"j{number}", "e1", {"x": number}, 1.0) for number in range(3)]

    async def save(job: JobRecord) -> None:
        await first.save_job(job)

    for job in jobs[:2]:
        asyncio.run(save(job))
    before = log.read_bytes()
    with running(state.home) as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "held by another process" in said.splitlines()[-1]
    assert log.read_bytes() == before
    asyncio.run(save(jobs[2]))
    first.close()
    store = Store.open(state.database)
    assert store.unfinished_jobs() == jobs
    store.close()


def test_a_port_in_use_is_told_and_leaves_neither_socket_nor_memory(tmp_path: Path) -> None:
    state = state_of(tmp_path / "home")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        with running(state.home, FLASH_PORT=port) as process:
            _, said = process.communicate(timeout=20)
    assert f"port {port}" in said.splitlines()[-1]
    assert not state.socket.exists()
    shared = arena_file.default_folder(os.getuid())
    assert state.plane not in [home.readlink() for home in shared.glob("*.home")]


def _settings(home: Path, **changes: str) -> settings.PlaneSettings:
    """Of control planes that are made here and not run: without shared memory, which only their end gives back."""
    return settings.load({"FLASH_HOME": str(home), "FLASH_FAKE_GPUS": "", "FLASH_ARENA_MB": "0", **changes})


def test_collecting_goes_on_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, rounds = state_of(tmp_path / "home"), list[str]()

    async def refuse(store: Store, now: float) -> int:
        rounds.append("store")
        if len(rounds) == 1:
            raise StoreError("the disk is full")
        return 0

    async def collect(blobs: Blobs, now: float, keep_s: float, keep: object = ()) -> int:
        rounds.append("blobs")
        raise PermissionError("not yours")

    monkeypatch.setattr(Store, "collect", refuse)
    monkeypatch.setattr(Blobs, "collect", collect)
    monkeypatch.setattr(server, "_COLLECT_S", 0.01)

    async def play() -> None:
        plane = ControlPlane(_settings(state.home), state)
        collecting = asyncio.ensure_future(plane._collect())
        async with asyncio.timeout(5):
            while rounds.count("blobs") < 2:
                await asyncio.sleep(0.005)
        assert not collecting.done()
        collecting.cancel()
        plane._store.close()

    asyncio.run(play())
    assert rounds[:3] == ["store", "store", "blobs"]


def test_leases_are_not_judged_by_a_process_that_was_held_up_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, judged = state_of(tmp_path / "home"), list[float]()

    async def play() -> None:
        plane = ControlPlane(_settings(state.home, FLASH_LEASE_S="0.2"), state)
        monkeypatch.setattr(plane._supervisor, "check_leases", lambda: judged.append(time.monotonic()))
        watching = asyncio.ensure_future(plane._watch_leases())
        await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251 - what is tested
        held_up_until = time.monotonic()
        await asyncio.sleep(0.02)
        assert judged == []
        async with asyncio.timeout(5):
            while not judged:
                await asyncio.sleep(0.005)
        assert judged[0] > held_up_until + 0.04
        watching.cancel()
        plane._store.close()

    asyncio.run(play())


def test_nothing_outlives_a_control_plane_that_is_killed(tmp_path: Path) -> None:
    state = state_of(tmp_path / "home")
    with running(state.home) as process:
        serving(state, process)
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait(10)
    wait_until(lambda: not [one for one in below if one.is_running()], 10)
    assert os.path.exists(state.record_path)  # it could not withdraw it; its process is what tells
    record = state.read_record()
    assert record is not None
    assert not record.alive
