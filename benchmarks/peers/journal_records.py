"""The store by itself, on disk: `python journal_records.py FOLDER IN_FLIGHT SECONDS` prints records and jobs a second.

A job is accepted, starts and ends; each is a record that is on disk before the next one is made.
"""

import asyncio
import json
import sys
import time
import uuid
from pathlib import Path

from runpod_flash.control_plane.records import EndpointRecord, JobRecord
from runpod_flash.control_plane.store import Store
from worker_runtime.wire.jobs import Call, JobStatus, Payload

BYTES = 230
CHANGES = 3


def job():
    """The records of one job, made before it is measured."""
    now = time.time()
    call = Call(artifact="a" * 64, arguments=Payload.inlined(bytes(BYTES)))
    accepted = JobRecord(str(uuid.uuid4()), "bench", call, now, idempotency_key=uuid.uuid4().hex, client="bench")
    started = accepted.changed(status=JobStatus.IN_PROGRESS, attempts=1, started_at=now, worker="bench")
    output = Payload.inlined(bytes(BYTES))
    return accepted, started, started.changed(status=JobStatus.COMPLETED, finished_at=now, output=output)


async def write(store, jobs):
    """One job after the other."""
    for records in jobs:
        for record in records:
            await store.save_job(record)


async def measure(store, in_flight, seconds):
    """Jobs a second."""
    await store.save_endpoint(EndpointRecord("bench", "", "bench", {}, config_hash="", generation=1, created_at=0.0))
    written, spent = 0, 0.0
    while spent < seconds:
        lots = [[job() for _ in range(4)] for _ in range(in_flight)]
        start = time.perf_counter()
        await asyncio.gather(*(write(store, jobs) for jobs in lots))
        spent += time.perf_counter() - start
        written += sum(map(len, lots))
    return written / spent


def main():
    """Measure and print."""
    folder, in_flight, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    store = Store.open(folder / "journal.db")
    try:
        jobs = asyncio.run(measure(store, in_flight, seconds))
    finally:
        store.close()
    print("RESULT", json.dumps({"records": CHANGES * jobs, "jobs": jobs}))


if __name__ == "__main__":
    main()
