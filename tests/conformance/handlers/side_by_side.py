"""A handler that takes four jobs at a time: each job ends only when as many as it names have met in one process."""

import asyncio
import uuid

import runpod

PROCESS = uuid.uuid4().hex

present = 0
met = asyncio.Event()


async def handler(job):
    global present
    present += 1
    if present >= job["input"]["meet"]:
        met.set()
    await asyncio.wait_for(met.wait(), 30)
    return {"process": PROCESS, "present": present}


def concurrency_modifier(current_concurrency):
    return 4


runpod.serverless.start({"handler": handler, "concurrency_modifier": concurrency_modifier})
