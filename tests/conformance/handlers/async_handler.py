"""A coroutine as the handler."""

import asyncio

import runpod


async def handler(job):
    await asyncio.sleep(0.01)
    return f"Hello, {job['input']['name']}!"


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
