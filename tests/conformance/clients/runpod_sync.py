"""Every method of the blocking client."""

import sys
import time

import runpod
from telling import KEY, tell

runpod.api_key = KEY
SYNC, GENERATOR, SLEEPING, FAILING, PARKED = sys.argv[1:]


def run_status_output():
    job = runpod.Endpoint(SYNC).run({"prompt": "a"})
    first = job.status()
    return {"id": job.job_id, "first": first, "output": job.output(timeout=90), "last": job.status()}


def run_with_other_fields():
    job = runpod.Endpoint(SYNC).run({"input": {"prompt": "b"}, "policy": {"executionTimeout": 60000}})
    return job.output(timeout=90)


def run_sync():
    return runpod.Endpoint(SYNC).run_sync({"prompt": "c"}, timeout=90)


def key_of_the_endpoint():
    return runpod.Endpoint(SYNC, api_key=KEY).run_sync({"input": {"prompt": "d"}}, timeout=90)


def stream():
    return list(runpod.Endpoint(GENERATOR).run({"count": 3, "pause": 0.1}).stream())


def stream_of_a_cancelled_job():
    job = runpod.Endpoint(PARKED).run({"prompt": "e"})
    job.cancel()
    return list(job.stream())


def cancel():
    job = runpod.Endpoint(PARKED).run({"prompt": "f"})
    return {"id": job.job_id, "answer": job.cancel(), "status": job.status(), "output": job.output()}


def cancel_while_it_runs():
    job = runpod.Endpoint(SLEEPING).run({"seconds": 60})
    while job.status() == "IN_QUEUE":
        time.sleep(0.2)
    before = job.status()
    return {"before": before, "answer": job.cancel()["status"], "status": job.status()}


def output_times_out():
    return runpod.Endpoint(PARKED).run({"prompt": "g"}).output(timeout=1)


def failed():
    job = runpod.Endpoint(FAILING).run({"way": "raise"})
    return {"output": job.output(timeout=90), "status": job.status()}


def health():
    return runpod.Endpoint(SYNC).health()


def wrong_key():
    return runpod.Endpoint(SYNC, api_key="wrong").run({"prompt": "h"})


def unknown_endpoint():
    return runpod.Endpoint("nowhere").health()


def purge_queue():
    """Last, and alone: it would take the jobs of the others away."""
    runpod.Endpoint(PARKED).run({"prompt": "i"})
    return runpod.Endpoint(PARKED).purge_queue()


ALL = [
    run_status_output, run_with_other_fields, run_sync, key_of_the_endpoint, stream, stream_of_a_cancelled_job, cancel,
    cancel_while_it_runs, output_times_out, failed, health, wrong_key, unknown_endpoint,
]  # fmt: skip

if __name__ == "__main__":
    tell(ALL, [purge_queue])
