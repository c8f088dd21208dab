"""A handler that asks for a new worker after some of its jobs."""

import os

import runpod


def handler(job):
    return {"refresh_worker": job["input"]["refresh"], "process": os.getpid()}


runpod.serverless.start({"handler": handler})
