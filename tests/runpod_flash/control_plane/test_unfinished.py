"""The jobs that are not final, of whom each endpoint knows its own."""

import asyncio

from runpod_flash.control_plane.fleet import Job, Pool, PoolKey
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.unfinished import Unfinished


def test_each_is_found_by_its_id_and_its_endpoint_until_it_is_final() -> None:
    loop = asyncio.new_event_loop()
    pool = Pool(PoolKey("e1", "", "", 1), "e1", None)
    jobs = [Job(JobRecord(f"j{n}", f"e{n % 2}", {}, 0.0), None, pool, 0.0, loop.create_future()) for n in range(4)]
    loop.close()
    unfinished = Unfinished()
    for job in jobs:
        unfinished.add(job)
    assert (len(unfinished), list(unfinished)) == (4, jobs)
    assert (list(unfinished.of("e0")), list(unfinished.of("e1")), list(unfinished.of("e2"))) == (
        jobs[::2],
        jobs[1::2],
        [],
    )
    assert (unfinished.get("j3"), unfinished.get("j4")) == (jobs[3], None)
    for _ in "12":
        unfinished.remove(jobs[0])
    assert list(unfinished.of("e0")) == [jobs[2]]
    unfinished.remove(jobs[2])
    assert (unfinished.get("j2"), list(unfinished.of("e0")), list(unfinished)) == (None, [], jobs[1::2])
