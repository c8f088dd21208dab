"""A handler that returns at once."""

import runpod


def handler(job):
    job_input = job["input"]
    return {"said": job_input.get("prompt", ""), "upper": job_input.get("prompt", "").upper()}


runpod.serverless.start({"handler": handler})
