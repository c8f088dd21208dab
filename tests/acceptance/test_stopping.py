"""How a control plane drains, hurries, and leaves when a newer version has come: states that anybody can read."""

import json
import signal

import pytest

from tests.support.place import Place
from tests.support.plane_api import begun, control_plane, finished, plane_record
from tests.support.waiting import wait_until

WAITING = """
import sys, time
from pathlib import Path
from runpod_flash import Endpoint
@Endpoint(name="waiting", cpu="cpu3c-1-2", workers=1, retries=5)
def f(folder, number):
    with open(folder / "starts", "a") as file: file.write(str(number))
    while not (folder / "go").exists(): time.sleep(0.02)
    return number
if __name__ == "__main__":
    jobs = [f.spawn(Path(sys.argv[1]), number) for number in (0, 1)]
    print(*[job.result() for job in jobs])
"""


def state_of(place: Place) -> str:
    return str(plane_record(place)["state"])


def begun_once(place: Place) -> None:
    wait_until((place.project / "starts").exists, 30, "the first call runs")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["signal", "command"])
def test_one_that_drains_says_so_and_the_second_time_stops_at_once(place: Place, how: str) -> None:
    with begun(place, WAITING, str(place.project), FLASH_DRAIN_S="60") as process:
        begun_once(place)
        plane = control_plane(place)
        plane.terminate()
        wait_until(lambda: state_of(place) == "draining", 10, "it says that it drains")
        shown = json.loads(place.flash("server", "status", "--json").good().stdout)
        assert [each["state"] for each in shown["planes"]] == ["draining"]
        assert "is draining" in place.flash("server", "status").good().stdout
        table = place.flash("status").good().stdout
        assert ", draining" in table
        assert "waiting: 1 waiting for" in table
        assert "the control plane drains" in table
        if how == "signal":
            plane.send_signal(signal.SIGTERM)
        else:
            place.flash("server", "stop", "--now").good()
        plane.wait(10)
        (place.project / "go").touch()
        assert finished(process) == "0 1"
    assert control_plane(place).pid != plane.pid
    assert (place.project / "starts").read_text() == "001", "the call that was cut off ran again, by its retries"


@pytest.mark.slow
def test_a_drain_ends_with_what_runs(place: Place) -> None:
    with begun(place, WAITING, str(place.project), FLASH_DRAIN_S="60") as process:
        begun_once(place)
        plane = control_plane(place)
        plane.terminate()
        wait_until(lambda: state_of(place) == "draining", 10, "it says that it drains")
        (place.project / "go").touch()
        plane.wait(10)
        assert finished(process) == "0 1"
    assert (place.project / "starts").read_text() == "01"


@pytest.mark.slow
def test_a_drain_has_a_deadline(place: Place) -> None:
    with begun(place, WAITING, str(place.project), FLASH_DRAIN_S="0.3") as process:
        begun_once(place)
        plane = control_plane(place)
        plane.terminate()
        plane.wait(10)
        (place.project / "go").touch()
        assert finished(process) == "0 1"
