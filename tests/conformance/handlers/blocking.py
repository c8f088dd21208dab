"""A handler that blocks its whole process while it works."""

import time
import uuid

import runpod

PROCESS = uuid.uuid4().hex


def handler(job):
    time.sleep(job["input"]["seconds"])
    return {"slept": job["input"]["seconds"], "process": PROCESS}


runpod.serverless.start({"handler": handler})
