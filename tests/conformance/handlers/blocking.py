"""A handler that blocks its whole process while it works."""

import os
import time

import runpod


def handler(job):
    time.sleep(job["input"]["seconds"])
    return {"slept": job["input"]["seconds"], "process": os.getpid()}


runpod.serverless.start({"handler": handler})
