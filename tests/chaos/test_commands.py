"""Control planes, workers and their commands are killed by SIGKILL at random moments; no job is lost or ends twice.

The commands speak the published protocol, whose answers name no attempt, in plain Python (`command_worker.py`).
"""

import contextlib
import json
import random
import signal
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.chaos.killing import control_planes, parents, tree_of
from tests.support.place import Place
from tests.support.plane_api import plane_client
from tests.support.waiting import wait_until

JOBS, KILLS = 300, 8
SCRIPT = Path(__file__).with_name("command_worker.py")
QUICK = {"FLASH_PING_S": "1", "FLASH_TAKE_HOLD_S": "5", "FLASH_KEEP_ASYNC_S": "3600"}


def commands(place: Place) -> list[psutil.Process]:
    """The processes of the command."""
    below = [process for parent in parents(place) for process in tree_of(parent)[1:]]
    return [process for process in below if _runs_script(process)]


def _runs_script(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return str(SCRIPT) in process.cmdline()
    return False


VICTIMS: dict[str, Callable[[Place], list[psutil.Process]]] = {
    "control plane": control_planes, "worker parent": parents, "command": commands,
}  # fmt: skip


class Client:
    """Asks until it is answered: the control plane may be dead for a while."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.endpoint = ""
        self.ids: dict[int, str] = {}  # by number
        self.enough = threading.Event()

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """The answer as JSON."""

        def answer() -> httpx.Response | None:
            with contextlib.suppress(OSError, ValueError, KeyError, httpx.HTTPError), plane_client(self._place) as http:
                return http.request(method, path, **request)
            return None

        response = wait_until(answer, 60, f"{method} {path} is answered")
        assert response is not None
        assert response.is_success, response.text
        return response.json()

    def submit_all(self) -> None:
        """Submit the jobs; one that was not acknowledged is submitted again with its key."""
        chance = random.Random(1)
        for number in range(JOBS):
            body = {"input": {"number": number, "seconds": chance.uniform(0, 0.3)}}
            made = self.ask("POST", f"/v2/{self.endpoint}/run", json=body, headers={"Idempotency-Key": f"n{number}"})
            self.ids[number] = made["id"]

    def completed(self, number: int) -> bool:
        """Whether a job has its value; one whose workers were killed twice is tried once more."""
        job = self.ask("GET", f"/v2/{self.endpoint}/status/{self.ids[number]}")
        if job["status"] == "FAILED":
            assert "job timed out after 1 retries" in job["error"], job
            self.ask("POST", f"/v2/{self.endpoint}/retry/{self.ids[number]}")
        assert job["status"] in ("IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED"), job
        if job["status"] == "COMPLETED":
            assert job["output"] == {"number": number, "value": number * number + 7}
        return bool(job["status"] == "COMPLETED")


def kill(place: Place, kind: str, chance: random.Random) -> None:
    """Kill one of a kind; a control plane is started again, as whoever needs it would do."""
    found = wait_until(lambda: VICTIMS[kind](place), 60, f"a {kind}")
    with contextlib.suppress(psutil.NoSuchProcess):
        chance.choice(found).send_signal(signal.SIGKILL)
    if kind == "control plane":
        wait_until(lambda: not control_planes(place), 20, "it is dead")
        place.flash("server", "start", env=QUICK).good()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_job_of_a_command_is_lost_or_ends_twice(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    chance, folder = random.Random(), place.project / "load"
    folder.mkdir()
    place.flash("server", "start", env=QUICK).good()
    command = f"{sys.executable} {SCRIPT} {folder}"
    made = place.flash(
        "server", "add", "--name", "load", "--command", command, "--workers", "2", "2", "--cpu", "cpu3c-1-2", "--json"
    ).good()
    client = Client(place)
    client.endpoint = json.loads(made.stdout)["id"]
    submitting = threading.Thread(target=client.submit_all)
    submitting.start()
    order = [kind for kind in VICTIMS for _ in range(KILLS)]
    chance.shuffle(order)
    starts = folder / "starts"
    for kind in order:
        before = starts.stat().st_size if starts.exists() else 0
        wait_until(lambda before=before: starts.exists() and starts.stat().st_size > before, 60, "work goes on")
        threading.Event().wait(chance.uniform(0, 0.4))  # a random moment
        kill(place, kind, chance)
    submitting.join(120)
    assert sorted(client.ids) == list(range(JOBS))
    open_ones = set(client.ids)
    wait_until(lambda: not open_ones.difference_update([n for n in open_ones if client.completed(n)]) and not open_ones,
               240, "all jobs end")  # fmt: skip
    place.flash("server", "stop").good()
    attempts = check(place, starts)
    with capsys.disabled():
        print(f"\n{JOBS} jobs, 0 lost, 0 ended twice; {attempts} attempts; {KILLS} kills of each of {list(VICTIMS)}")


def check(place: Place, starts: Path) -> int:
    """Compare what ran with what the journal says; gives the number of attempts."""
    (path,) = place.home.glob("planes/*/flash.db")
    with contextlib.closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT json_extract(input, '$.number'), status, attempts, result FROM jobs").fetchall()
        (completed,) = database.execute("SELECT sum(completed) FROM counters").fetchone()
    assert sorted(number for number, *_ in rows) == list(range(JOBS)), "a submit has made two jobs, or none"
    assert completed == JOBS, "the counters have seen another number of ends than there are jobs"
    begun = Counter(int(line) for line in starts.read_text().split())
    for number, status, attempts, output in rows:
        assert status == "COMPLETED"
        assert json.loads(output) == {"number": number, "value": number * number + 7}
        assert 1 <= begun[number] <= attempts, f"job {number}: {begun[number]} starts, {attempts} attempts"
    return sum(attempts for _, _, attempts, _ in rows)
