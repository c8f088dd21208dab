"""A handler that says how far it is. It goes on when the file that it is given is there."""

import os
import time

import runpod


def handler(job):
    for step in range(1, job["input"]["steps"] + 1):
        runpod.serverless.progress_update(job, f"step {step}")
        time.sleep(job["input"].get("pause", 0))
    until = time.monotonic() + 30
    while not os.path.exists(job["input"]["until"]) and time.monotonic() < until:
        time.sleep(0.02)
    return "all steps done"


runpod.serverless.start({"handler": handler})
