"""A handler that yields: each value is a chunk of the stream."""

import time

import runpod


def handler(job):
    for number in range(job["input"]["count"]):
        time.sleep(job["input"].get("pause", 0))
        yield {"number": number}
    if job["input"].get("fail"):
        raise RuntimeError("out of numbers")
    if job["input"].get("error"):
        yield {"error": "no more numbers"}


runpod.serverless.start({"handler": handler})
