"""A handler that asks for a new worker after some of its jobs."""

import uuid

import runpod

PROCESS = uuid.uuid4().hex


def handler(job):
    return {"refresh_worker": job["input"]["refresh"], "process": PROCESS}


runpod.serverless.start({"handler": handler})
