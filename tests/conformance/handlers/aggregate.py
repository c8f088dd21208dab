"""A generator whose chunks are the output, too."""

import runpod


def handler(job):
    yield from (number * number for number in range(job["input"]["count"]))


runpod.serverless.start({"handler": handler, "return_aggregate_stream": True})
