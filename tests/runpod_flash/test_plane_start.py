"""The control plane that is started before it is asked for."""

import concurrent.futures
import fcntl
import json
import os
import subprocess
import sys

import pytest

from runpod_flash import plane_start
from runpod_flash.release import content_hash
from runpod_flash.settings import load
from runpod_flash.state_folder import StateFolder, is_locked
from tests.support.place import ROOT, Place
from tests.support.processes import processes_of
from tests.support.waiting import wait_until

BEGIN = "from runpod_flash import plane_start as p; p.begin(p.load())"


def state_of(place: Place) -> StateFolder:
    """The state folder of the control plane of this place."""
    return StateFolder(place.home, content_hash(), None)


def test_many_programs_at_once_start_one_which_all_find(place: Place) -> None:
    script = place.write(
        "one.py",
        f"""
        {BEGIN}
        from runpod_flash import Endpoint
        @Endpoint(name="early", cpu="cpu3c-1-2")
        def f(x): return x
        print(f.remote(1))
    """,
    )
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for done in pool.map(lambda _: place.run([str(script)]), range(3)):
            assert done.good().stdout == "1\n"
    record = json.loads(state_of(place).record_path.read_text())
    planes = [each.pid for each in processes_of(place.home) if "runpod_flash.control_plane" in each.cmdline()]
    assert planes == [record["pid"]]


def test_nobody_else_starts_one_until_it_has_its_own_lock(place: Place) -> None:
    state = state_of(place)
    place.run(["-c", BEGIN]).good()
    with state.start_lock.open("ab") as lock:
        # The program that began it has ended: the lock is with the control plane, or its own has taken its place.
        wait_until(lambda: is_locked(state.plane_lock) or is_locked(state.start_lock))
        wait_until(lambda: not fcntl.flock(lock, fcntl.LOCK_EX))
        assert is_locked(state.plane_lock)
    wait_until(lambda: (record := plane_start.running(state)) is not None and record.serving)


def test_where_another_starts_one_or_it_is_not_the_target_nothing_is_done(place: Place) -> None:
    state = state_of(place)
    state.prepare()
    settings = load({**place.env(), "FLASH_TARGET": "local"}, place.project)
    with state.start_lock.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        plane_start.begin(settings)
    plane_start.begin(load({**place.env(), "FLASH_TARGET": "inline"}, place.project))
    assert not processes_of(place.home)


def test_the_option_is_the_number_of_a_lock(place: Place) -> None:
    told = [sys.executable, "-m", "runpod_flash.control_plane", plane_start.HOLDING, "77"]
    done = subprocess.run(told, env=place.env(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert os.strerror(9) in done.stderr


def test_files_that_have_changed_since_start_nothing(place: Place) -> None:
    told = [*plane_start.default_command(state_of(place))[:-1], "0" * 64]
    done = subprocess.run(told, env=place.env(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "files of runpod_flash have changed" in done.stderr
    assert "start that program again" in done.stderr
    assert not list(place.home.glob("planes/*"))


@pytest.mark.slow
def test_one_that_has_just_begun_can_be_stopped(place: Place) -> None:
    place.run(["-c", BEGIN]).good()
    assert "stopped" in place.flash("server", "stop").good().stdout
    assert not processes_of(place.home)
