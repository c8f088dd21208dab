"""The handler that runpod's local server runs: `python runpod_handler.py --rp_serve_api`."""

import runpod


def handler(job):
    """Gives what it got."""
    return job["input"]["x"]


runpod.serverless.start({"handler": handler})
