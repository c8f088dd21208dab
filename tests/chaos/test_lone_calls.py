"""Kills in the midst of calls that come one after the other, most of them straight to a worker that is lent."""

import json
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.killing import VICTIMS, Killer
from tests.support.place import Place
from tests.support.plane_api import begun, finished, plane_client
from tests.support.waiting import wait_until
from worker_runtime.lent import RECORDS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="workers are lent on Linux alone"),
]

KILLS = 8
"""Of each kind."""

APART = 5
"""Calls between two kills, so that none is hit twice: by default a lost worker is made up for once."""

CLIENT = """
import asyncio, json, os, sys, time
from runpod_flash import Endpoint, session
from runpod_flash.errors import WorkerLost
here = os.getcwd()
large = int(sys.argv[1])
def lone(number, more=b""):
    with open(os.path.join(here, "starts"), "a") as file: file.write(f"{number}\\n")
    if number % 50 == 7: time.sleep(0.02)
    return number, more
once = Endpoint(name="once", cpu="cpu3c-1-2", workers=(1, 1), retries=0)(lone)
often = Endpoint(name="often", cpu="cpu3c-1-2", workers=(1, 1))(lone)
async def main():
    number, lost, direct = 0, [], 0
    while not os.path.exists("stop"):
        for function in (once, often):
            for _ in range(100):
                number += 1
                more = number.to_bytes(4, "big") * (large // 4)
                try: assert await function(number, more) == (number, more)
                except WorkerLost: lost.append(number)
                link = session.current()._links[asyncio.get_running_loop()]
                direct += link.backend.conversation is not None and link.backend.conversation.has_worker
    print(json.dumps({"calls": number, "lost": lost, "direct": direct}))
asyncio.run(main())
"""


def numbers_in(starts: Path) -> list[int]:
    """Of the calls that have begun, one for each start."""
    return [int(line) for line in starts.read_text().splitlines()]


@pytest.mark.parametrize("large", ["0", "600000"])  # bytes of an argument and a result
def test_kills_of_each_kind_lose_nothing_and_begin_nothing_too_often(place: Place, large: str) -> None:
    starts = place.project / "starts"
    killer = Killer(place, starts, random.Random(7))
    with begun(place, CLIENT, large) as process:
        wait_until(lambda: starts.exists() and starts.stat().st_size > 1000, 60, "calls run")
        for _ in range(KILLS):
            for kind in VICTIMS:
                killer.pause(0.2)
                killer.kill(kind)
                hit = max(numbers_in(starts))
                killer.recovered(kind)
                wait_until(lambda: max(numbers_in(starts)) > hit + APART, 60, "those that were hit have ended")  # noqa: B023
        (place.project / "stop").touch()
        told = json.loads(finished(process, 120))
    begun_at = Counter(numbers_in(starts))
    numbers = range(1, told["calls"] + 1)
    once = [number for number in numbers if (number - 1) % 200 < 100]
    assert {number: begun_at[number] for number in once if begun_at[number] > 1} == {}, "retries=0 is one start"
    assert set(told["lost"]) <= set(once), "others go on"
    assert [number for number in numbers if not begun_at[number] and number not in told["lost"]] == []
    assert told["direct"] > told["calls"] / 4, told
    figures = f"{told['calls']} lone calls, {told['direct']} with a lent worker, {len(told['lost'])} lost"
    print(f"\n{figures}; {killer.report()}")
    with plane_client(place) as client:
        jobs: list[dict[str, str]] = []
        params: dict[str, int] = {"limit": 1000}
        while True:
            page = client.get("/flash/v1/jobs", params=params).json()
            jobs += page["jobs"]
            if page.get("more") is None:
                break
            params["after"] = page["more"]
    assert {job["status"] for job in jobs} <= {"COMPLETED", "FAILED"}
    assert len({job["id"] for job in jobs}) == len(jobs)
    missing = told["calls"] - len(jobs)
    assert 0 <= missing <= RECORDS * 3 * KILLS, "what was told is missing only where somebody was killed just then"
