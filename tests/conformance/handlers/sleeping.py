"""An asynchronous handler that takes its time, and says so in files when it begins and when it is cancelled."""

import asyncio
import uuid
from pathlib import Path

import runpod

PROCESS = uuid.uuid4().hex


async def handler(job):
    if "started" in job["input"]:
        Path(job["input"]["started"]).touch()
    try:
        await asyncio.sleep(job["input"]["seconds"])
    except asyncio.CancelledError:
        if "cancelled" in job["input"]:
            Path(job["input"]["cancelled"]).write_text(job["id"])
        raise
    return {"slept": job["input"]["seconds"], "process": PROCESS}


runpod.serverless.start({"handler": handler})
