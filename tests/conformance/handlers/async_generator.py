"""An asynchronous generator as the handler; its chunks are plain text."""

import asyncio

import runpod


async def handler(job):
    for word in job["input"]["text"].split():
        await asyncio.sleep(0.01)
        yield word


runpod.serverless.start({"handler": handler})
