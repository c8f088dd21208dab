"""A newer version starts beside a control plane that runs: that one ends what it has, says so, and leaves."""

import json
from pathlib import Path

import httpx
import pytest

from tests.support.newer import newer_version
from tests.support.place import Place
from tests.support.plane_api import finished
from tests.support.waiting import wait_until

NAMES = ["alice", "bob"]

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


TWICE = """
import asyncio, sys, time
from pathlib import Path
from runpod_flash import Endpoint
@Endpoint(name="twice", cpu="cpu3c-1-2", workers=1)
def f(number): return number
async def first(folder):
    print(await f(1), flush=True)
    (folder / "called").touch()
    while not (folder / "go-1").exists(): await asyncio.sleep(0.02)
asyncio.run(first(Path(sys.argv[1])))
while not (Path(sys.argv[1]) / "go-2").exists(): time.sleep(0.02)
print(asyncio.run(f(2)))
"""


@pytest.mark.slow
def test_a_program_between_two_event_loops_keeps_the_older_one(place: Place, tmp_path: Path) -> None:
    twice = [str(place.write("twice.py", TWICE)), str(place.project)]
    newer = {"PYTHONPATH": newer_version(tmp_path / "newer"), "FLASH_IDLE_EXIT_S": "4"}
    with place.start(twice, env={"FLASH_IDLE_EXIT_S": "1"}) as program:
        try:
            wait_until((place.project / "called").exists, 30, "it has made its first call")
            place.flash("server", "start", env=newer).good()
            wait_until(lambda: states(place) == ["serving", "superseded"], 30, "a newer one has come")
            (place.project / "go-1").touch()
            wait_until(lambda: states(place) == ["superseded"], 30, "the newer one has left, as nobody uses it")
            (place.project / "go-2").touch()
            assert finished(program).split() == ["1", "2"]
        finally:
            program.kill()
    wait_until(lambda: states(place) == [], 30, "nobody uses the older one any more")
    logs = "".join(path.read_text() for path in place.home.glob("planes/*/plane.log"))
    assert logs.count("serving on port") == 2, "each was started once"


@pytest.mark.slow
def test_keys_that_one_version_has_made_hold_with_another(place: Place, tmp_path: Path) -> None:
    newer = {"PYTHONPATH": newer_version(tmp_path / "newer")}
    start = ("server", "start", "--listen", "127.0.0.1:0")
    place.flash(*start).good()
    (older_url,) = urls(place)
    alice, bob = (place.flash("server", "keys", "create", "--user", user).good().stdout.strip() for user in NAMES)
    place.flash(*start, env=newer).good()
    (newer_url,) = urls(place) - {older_url}
    assert [status(url, key) for url in (older_url, newer_url) for key in (alice, bob)] == [200] * 4
    listed = json.loads(place.flash("server", "keys", "list", "--json", env=newer).good().stdout)["keys"]
    assert [key["user"] for key in listed] == NAMES
    place.flash("server", "keys", "revoke", listed[0]["id"], env=newer).good()
    assert [status(url, key) for url in (older_url, newer_url) for key in (alice, bob)] == [401, 200] * 2
    keys = place.home / "planes" / "api_keys.json"
    place.flash("server", "stop").good()
    damaged = keys.read_bytes()[:-20]
    keys.write_bytes(damaged)
    refused = place.flash(*start)
    assert refused.status == 1
    assert f"the file of API keys {keys} is damaged" in refused.stderr
    assert keys.read_bytes() == damaged
    place.flash("server", "start").good()  # for this user alone


@pytest.mark.slow
def test_endpoints_with_a_command_come_along(place: Place, tmp_path: Path) -> None:
    newer = {"PYTHONPATH": newer_version(tmp_path / "newer")}
    place.flash("server", "add", "--name", "hello", "--command", "python handler.py").good()
    (before,) = place.endpoints()
    place.flash("server", "stop").good()
    place.flash("server", "start", env=newer).good()
    (after,) = place.endpoints()
    assert (after["id"], after["name"]) == (before["id"], "hello")
    place.flash("server", "remove", "hello", env=newer).good()
    place.flash("server", "stop").good()
    place.flash("server", "start", env=newer).good()
    assert place.endpoints() == [], "what was removed does not come back"


def urls(place: Place) -> set[str]:
    """Where the servers of this place listen for others."""
    shown = json.loads(place.flash("server", "status", "--json").good().stdout)
    return {plane["url"] for plane in shown["planes"]}


def status(url: str, key: str) -> int:
    """What a server answers to a user who has this key."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.get(f"{url}/v2/serverless", headers=headers, trust_env=False).status_code
