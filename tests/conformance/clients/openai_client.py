"""The OpenAI client against the OpenAI route of an endpoint."""

import os
import sys

import openai
from telling import KEY, tell

BASE = f"{os.environ['RUNPOD_ENDPOINT_BASE_URL']}/{sys.argv[1]}/openai/v1"
CLIENT = openai.OpenAI(base_url=BASE, api_key=KEY, max_retries=0, timeout=90)
ASK = {"messages": [{"role": "user", "content": "Tell me something"}]}


def models():
    return [model.id for model in CLIENT.models.list()]


def chat():
    answer = CLIENT.chat.completions.create(model="tiny-model", **ASK)
    return {
        "text": answer.choices[0].message.content,
        "finish": answer.choices[0].finish_reason,
        "object": answer.object,
    }


def chat_stream():
    chunks = list(CLIENT.chat.completions.create(model="tiny-model", stream=True, **ASK))
    return {
        "words": [chunk.choices[0].delta.content for chunk in chunks],
        "finish": chunks[-1].choices[0].finish_reason,
        "object": chunks[0].object,
    }


async def chat_asyncio():
    async with openai.AsyncOpenAI(base_url=BASE, api_key=KEY, max_retries=0, timeout=90) as client:
        stream = await client.chat.completions.create(model="tiny-model", stream=True, **ASK)
        return [chunk.choices[0].delta.content async for chunk in stream]


def _error(call):
    try:
        call()
    except openai.APIError as error:
        return {"status": getattr(error, "status_code", None), "message": str(error), "api": type(error).__name__}
    return "no error"


def error_of_the_worker():
    return _error(lambda: CLIENT.chat.completions.create(model="huge-model", **ASK))


def error_while_streaming():
    return _error(lambda: list(CLIENT.chat.completions.create(model="huge-model", stream=True, **ASK)))


def wrong_key():
    return _error(openai.OpenAI(base_url=BASE, api_key="wrong", max_retries=0).models.list)


if __name__ == "__main__":
    tell([models, chat, chat_stream, chat_asyncio, error_of_the_worker, error_while_streaming, wrong_key])
