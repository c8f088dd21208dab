"""`flash status` with a real control plane, and a call made through it."""

import json

import pytest

from tests.support.place import Place
from tests.support.plane_api import plane_folder, plane_record

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


@pytest.mark.slow
def test_one_without_endpoints(place: Place) -> None:
    place.serve()
    assert "no endpoints" in place.flash("status").good().stdout


@pytest.mark.slow
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
    assert f"project {place.project}\n" in table


@pytest.mark.slow
def test_what_is_at_the_chosen_target(place: Place) -> None:
    place.serve()
    record = plane_record(place)
    key = (plane_folder(place) / "key").read_text().strip()
    there = {"FLASH_TARGET": f"http://127.0.0.1:{record['port']}", "FLASH_API_KEY": key}
    assert place.run_script(CALL, env=there).good().stdout == "42\n"
    shown = json.loads(place.flash("status", "--json", env=there).good().stdout)
    (endpoint,) = shown["endpoints"]
    assert (shown["target"], endpoint["name"], "planes" in shown) == (
        there["FLASH_TARGET"],
        "seen-in-status",
        False,
    )
    table = place.flash("status", "--all", env=there).good().stdout
    assert table.startswith(f"{there['FLASH_TARGET']}, 0 open jobs\n")
    assert "of no project\n" in table
    assert f"process {record['pid']}" in table
    down = place.flash("status", env={**there, "FLASH_TARGET": "http://127.0.0.1:9"})
    assert (down.status, down.stdout) == (1, "")
    assert "cannot be reached" in down.stderr


@pytest.mark.slow
def test_one_that_has_the_published_api_alone(place: Place) -> None:
    only = {"FLASH_PUBLISHED_ONLY": "1"}
    assert place.run_script(CALL, env=only).good().stdout == "42\n"
    (shown,) = json.loads(place.flash("status", "--json").good().stdout)["planes"]
    (endpoint,) = shown["endpoints"]
    assert (endpoint["name"], endpoint["jobs"]["completed"], endpoint["waiting"]) == ("seen-in-status", 1, None)
    assert len(endpoint["workerIds"]) == 1
    table = place.flash("status").good().stdout
    assert "0 open jobs" in table
    assert "1 completed" in table


@pytest.mark.slow
@pytest.mark.parametrize(("state", "status"), [("starting", 0), ("stopping", 0), ("serving", 1)])
def test_one_that_starts_or_stops_need_not_answer(place: Place, state: str, status: int) -> None:
    place.serve()
    deaf = {**plane_record(place), "state": state, "socket": "/nowhere", "port": 1}
    (plane_folder(place) / "record.json").write_text(json.dumps(deaf))
    shown = place.flash("status")
    assert shown.status == status
    if status:
        assert "does not answer" in shown.stderr
    else:
        assert f"process {deaf['pid']}, {state}" in shown.stdout
        (plane,) = json.loads(place.flash("status", "--json").good().stdout)["planes"]
        assert (plane["state"], plane["endpoints"]) == (state, [])


@pytest.mark.slow
def test_whose_endpoints_they_are_is_shown_where_there_are_several_users(place: Place) -> None:
    place.flash("server", "start", "--listen", "127.0.0.1:0").good()
    place.flash("server", "add", "--name", "mine", "--command", "true").good()
    assert "USER" not in place.flash("status").good().stdout
    key = place.flash("server", "keys", "create", "--user", "alice").good().stdout.strip()
    url = str(plane_record(place)["url"])
    alice = {"FLASH_TARGET": url, "FLASH_API_KEY": key}
    place.run_script(CALL, env=alice).good()

    rows = [line.split() for line in place.flash("status").good().stdout.splitlines()]
    heads, *_ = [row for row in rows if row[:1] == ["ENDPOINT"]]
    assert heads[-1] == "USER"
    assert {row[0]: "alice" in row for row in rows if row[:1] in (["mine"], ["seen-in-status"])} == {
        "mine": False,
        "seen-in-status": True,
    }
