"""Calls by the published API alone; and the list of what cannot be done so is true."""

import json
import subprocess
import sys

import pytest

from tests.acceptance.published_only import OTHERS, REASONS
from tests.support.place import ROOT, Place
from tests.support.plane_api import last_input, plane_client


def collected() -> set[str]:
    """The acceptance tests by file and name, with their parameters and without."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/acceptance"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    names = {line.removeprefix("tests/acceptance/") for line in listed.splitlines() if "::" in line}
    return names | {name.partition("[")[0] for name in names}


@pytest.mark.slow
def test_each_listed_test_exists_and_has_a_reason() -> None:
    names = collected()
    assert "test_published_only.py::test_each_listed_test_exists_and_has_a_reason" in names
    assert sorted(set(REASONS) - names) == []
    assert all(len(reason) > 20 for reason in REASONS.values())
    assert {name.partition("::")[0] for name in names} >= set(OTHERS)


SCRIPT = """
import sys
from runpod_flash import Endpoint
from runpod_flash.errors import PayloadTooLarge

@Endpoint(name="carried", cpu="cpu3c-1-2")
def zeros(size, data=b""):
    return bytes(size), len(data)

@Endpoint(name="kept", cpu="cpu3c-1-2")
class Kept:
    def __init__(self, data): self.data = data
    def size(self): return len(self.data)

if __name__ == "__main__":
    assert zeros.remote(2_000_000, bytes(3_000_000)) == (bytes(2_000_000), 3_000_000)
    assert Kept(bytes(1_000_000)).size.remote() == 1_000_000
    for size, data in ((16_000_000, b""), (0, bytes(9_000_000))):
        try:
            zeros.remote(size, data)
        except PayloadTooLarge as error:
            print(error)
    print(zeros.spawn(1).id)
"""


@pytest.mark.slow
def test_code_data_and_results_travel_inside_calls(place: Place) -> None:
    done = place.run_script(SCRIPT, env={"FLASH_PUBLISHED_ONLY": "1"}).good()
    result, arguments, job = done.stdout.splitlines()
    assert "the value was computed but has 16000" in result
    assert "carries results of up to 15728640 bytes inside a job" in result
    assert "and the embedded control plane takes 10485760 bytes" in arguments
    assert len(json.dumps(last_input(place))) < 1000, "what a call carried is stored once, not with the job"
    with plane_client(place) as client:
        assert client.get("/flash/v1/capabilities").status_code == 404
        assert client.get(f"/flash/v1/jobs/{job}").status_code == 404
