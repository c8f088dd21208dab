"""Each job gets a new worker."""

import os

import runpod


def handler(job):
    return os.getpid()


runpod.serverless.start({"handler": handler, "refresh_worker": True})
