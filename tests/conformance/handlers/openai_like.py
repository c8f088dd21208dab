"""A handler for the OpenAI route, in the way of the known inference workers: SSE text, or one object."""

import json

import runpod

MODEL = "tiny-model"
WORDS = ("Once ", "upon ", "a ", "time")


def chunk(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice]}
    return f"data: {json.dumps(body)}\n\n"


def completion(text):
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": len(WORDS), "total_tokens": 1 + len(WORDS)}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [choice],
        "usage": usage,
    }


async def handler(job):
    route, asked = job["input"].get("openai_route"), job["input"].get("openai_input") or {}
    if route == "/v1/models":
        yield {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1, "owned_by": "us"}]}
    elif route != "/v1/chat/completions":
        yield {"error": {"message": f"no route {route}", "type": "NotFoundError", "code": 404}}
    elif asked.get("model") != MODEL:
        message = f"The model `{asked.get('model')}` does not exist."
        yield {"error": {"message": message, "type": "NotFoundError", "code": 404}}
    elif asked.get("stream"):
        for word in WORDS:
            yield chunk({"role": "assistant", "content": word})
        yield chunk({}, "stop")
        yield "data: [DONE]\n\n"
    else:
        yield completion("".join(WORDS))


runpod.serverless.start({"handler": handler, "return_aggregate_stream": True})
