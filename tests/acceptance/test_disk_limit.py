"""The bound on what jobs may take of the disk: a warning before it, a clear error at it; what was accepted stays."""

import json

import pytest

from tests.support.place import Place

CALLS = """
import sys
from runpod_flash import Endpoint, errors
@Endpoint(name="kept", cpu="cpu3c-1-2")
def kept(data): return data
if __name__ == "__main__":
    if sys.argv[1] == "come-back":
        print(len(Endpoint(name="kept").job(sys.argv[2]).result()))
    try: job = kept.spawn(bytes(int(sys.argv[1]))) if sys.argv[1].isdigit() else None
    except errors.BackendError as error: print(type(error).__name__, error)
    else: job and print(job.id, job.wait().done)
"""


@pytest.mark.slow
def test_a_warning_then_an_error_and_what_was_accepted_stays(place: Place) -> None:
    first = place.run_script(CALLS, arguments=["2000000"]).good().stdout.split()
    assert first[1] == "True"
    place.flash("server", "stop").good()  # which moves all into the database
    place.flash("server", "start").good()
    (plane,) = json.loads(place.flash("status", "--json").good().stdout)["planes"]
    used = plane["disk"]["used"]
    assert plane["disk"]["level"] == "good"
    assert used > 2_000_000

    place.flash("server", "stop").good()
    env = {"FLASH_DISK_LIMIT_GB": f"{used / 0.9 / 1024**3:.6f}"}
    warned = place.run_script(CALLS, arguments=["1"], env=env).good()
    assert warned.stdout.endswith("True\n")
    assert "FLASH_DISK_LIMIT_GB allows" in warned.stderr
    assert "warning: jobs and values use" in place.flash("status").good().stdout

    place.flash("server", "stop").good()
    env = {"FLASH_DISK_LIMIT_GB": f"{used / 2 / 1024**3:.6f}"}
    refused = place.run_script(CALLS, arguments=["1"], env=env).good().stdout
    assert refused.startswith("BackendError nothing new is accepted, and what was accepted goes on: ")
    assert "FLASH_DISK_LIMIT_GB" in refused
    assert place.run_script(CALLS, arguments=["come-back", first[0]], env=env).good().stdout == "2000000\n"
