"""Each job gets a new worker."""

import uuid

import runpod

PROCESS = uuid.uuid4().hex


def handler(job):
    return PROCESS


runpod.serverless.start({"handler": handler, "refresh_worker": True})
