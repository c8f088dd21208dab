"""The load on a disk that is filled and freed: `python -m tests.chaos.filled_disk FOLDER`; FOLDER/home is a small disk.

A program of its own, because only it and what it starts see that disk.
"""

import contextlib
import json
import sys
from pathlib import Path

from tests.chaos.killing import load
from tests.chaos.verdict import check
from tests.support.place import Place
from tests.support.waiting import wait_until

JOBS, REFUSALS = 1500, 20
_CHUNK = bytes(1 << 16)


def fill(ballast: Path) -> None:
    """Use up the disk to the last page."""
    with ballast.open("ab", buffering=0) as file:
        for size in (len(_CHUNK), 4096):
            with contextlib.suppress(OSError):
                while True:
                    file.write(_CHUNK[:size])


def main(place: Place) -> None:
    """Run the load, fill the disk in the middle, free it, and say what is true then."""
    ballast = place.home / "ballast"
    with load(place, JOBS, in_flight=40) as loaded:
        for round_ in (1, 2):
            loaded.begun(200 * round_)
            wait_until(lambda: any(place.home.glob("planes/*/reserve")), 90, "room is held back again")
            before = loaded.lines("refusals")
            fill(ballast)
            wait_until(lambda: loaded.lines("refusals") >= before + REFUSALS, 60, "submits are refused")  # noqa: B023
            fill(ballast)  # what has become free meanwhile: by now the calls that are refused ask again and again
            before = loaded.lines("refusals")
            wait_until(lambda: loaded.lines("refusals") >= before + REFUSALS, 60, "submits are still refused")  # noqa: B023
            ballast.unlink()
            done = loaded.lines("results")
            wait_until(lambda: loaded.lines("results") > done + 50, 60, "work goes on")  # noqa: B023
        loaded.enough()
    place.flash("server", "stop").good()
    verdict = check(place, loaded.folder, range(loaded.jobs))
    print(json.dumps({"verdict": str(verdict), "refusals": loaded.lines("refusals")}))


if __name__ == "__main__":
    chosen = Place.below(Path(sys.argv[1]))
    try:
        main(chosen)
    finally:
        chosen.close()
