"""The ways of a handler to fail, and one that gives nothing back."""

import runpod


def handler(job):
    match job["input"]["way"]:
        case "raise":
            raise ValueError("the model is missing")
        case "error":
            return {"error": "prompt is too long"}
        case "error and output":
            return {"error": "only half of it", "images": 1}
        case "empty":
            return {}
        case "none":
            return None


runpod.serverless.start({"handler": handler})
