"""A handler that shows what it is handed: the job's keys and their values, secrets by their length only."""

import os

import runpod


def handler(job):
    shown = {key: value for key, value in job.items() if key != "s3Config"}
    if "s3Config" in job:
        shown["storage"] = {**job["s3Config"], "accessSecret": len(job["s3Config"]["accessSecret"])}
    return {"job": shown, "endpoint": os.environ.get("RUNPOD_ENDPOINT_ID"), "worker": os.environ.get("RUNPOD_POD_ID")}


runpod.serverless.start({"handler": handler})
