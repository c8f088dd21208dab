"""`flash status` with a real control plane, and a call made through it."""

import json

from tests.support.place import Place

CALL = """
from runpod_flash import Endpoint

@Endpoint(name="seen-in-status", cpu="cpu3c-1-2")
def double(x):
    return 2 * x

if __name__ == "__main__":
    print(double.remote(21))
"""


def test_none_runs(place: Place) -> None:
    shown = place.flash("status").good()
    assert "no control plane runs" in shown.stdout
    assert str(place.home) in shown.stdout
    assert json.loads(place.flash("status", "--json").good().stdout) == {
        "running": False,
        "home": str(place.home),
        "planes": [],
    }


def test_one_without_endpoints(place: Place) -> None:
    place.flash("server", "start").good()
    assert "no endpoints" in place.flash("status").good().stdout


def test_an_endpoint_with_its_jobs_and_workers(place: Place) -> None:
    assert place.run_script(CALL).good().stdout == "42\n"

    (shown,) = json.loads(place.flash("status", "--json").good().stdout)["planes"]
    (endpoint,) = shown["endpoints"]
    assert endpoint["name"] == "seen-in-status"
    assert endpoint["project"] == str(place.project)
    assert endpoint["jobs"]["completed"] == 1

    table = place.flash("status").good().stdout
    assert "1 completed" in table
    assert "seen-in-status" in table
    assert str(place.project) in table
