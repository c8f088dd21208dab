"""A newer version starts beside a control plane that runs: that one ends what it has, says so, and leaves."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.place import ROOT, Place
from tests.support.plane_api import finished
from tests.support.waiting import wait_until

SCRIPT = """
import sys, time
from pathlib import Path
from runpod_flash import Endpoint
@Endpoint(name="upgraded", cpu="cpu3c-1-2", workers=1)
def f(folder, number):
    (folder / f"began-{number}").touch()
    while not (folder / f"go-{number}").exists(): time.sleep(0.02)
    return number
if __name__ == "__main__":
    print(f.remote(Path(sys.argv[1]), int(sys.argv[2])))
"""


def newer_version(folder: Path) -> str:
    """A copy of the packages that differs in one line; what PYTHONPATH must be for it."""
    for name in ("runpod_flash", "worker_runtime"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "runpod_flash" / "release.py").open("a") as file:
        file.write("# newer\n")
    return f"{folder}:{ROOT / 'cli'}"


def states(place: Place) -> list[str]:
    shown = place.flash("server", "status", "--json")
    return sorted(plane["state"] for plane in json.loads(shown.stdout)["planes"])


@pytest.mark.slow
def test_the_older_one_ends_its_calls_and_leaves(place: Place, tmp_path: Path) -> None:
    env = {"PYTHONPATH": newer_version(tmp_path / "newer")}
    script = [str(place.write("script.py", SCRIPT)), str(place.project)]
    with place.start([*script, "1"]) as older:
        try:
            wait_until((place.project / "began-1").exists, 30, "a call runs on the older one")
            with place.start([*script, "2"], env=env) as newer:
                wait_until((place.project / "began-2").exists, 30, "a call runs on the newer one")
                (place.project / "go-2").touch()
                assert finished(newer) == "2"
            wait_until(
                lambda: states(place) == ["serving", "superseded"], 20, "the older one says that it is superseded"
            )
            assert "superseded by a newer one" in place.flash("server", "status").good().stdout
            (place.project / "go-1").touch()
            assert finished(older) == "1"
        finally:
            older.kill()
    wait_until(lambda: states(place) == ["serving"], 30, "the older one has left")
