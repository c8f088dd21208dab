"""The real `openai` package on the OpenAI route of an endpoint."""

import json
from typing import Any

import pytest

from tests.conformance.endpoints import Deployments, refused
from tests.conformance.running import Runner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WORDS = ["Once ", "upon ", "a ", "time"]


@pytest.fixture(scope="module")
def told(runner: Runner, deployed: Deployments) -> dict[str, Any]:
    """What the client gave."""
    return dict(runner.said("openai_client.py", deployed.endpoint("openai_like").id))


def test_models(told: dict[str, Any]) -> None:
    assert told["models"] == ["tiny-model"]


def test_chat(told: dict[str, Any]) -> None:
    assert told["chat"] == {"text": "".join(WORDS), "finish": "stop", "object": "chat.completion"}


def test_chat_stream(told: dict[str, Any]) -> None:
    assert told["chat_stream"] == {"words": [*WORDS, None], "finish": "stop", "object": "chat.completion.chunk"}
    assert told["chat_asyncio"] == [*WORDS, None]


def test_framing_of_the_stream(deployed: Deployments) -> None:
    """The worker's own text, unchanged: neither wrapped nor framed once more."""
    ask = {"model": "tiny-model", "stream": True, "messages": [{"role": "user", "content": "Tell me something"}]}
    answer = deployed.endpoint("openai_like").post("openai/v1/chat/completions", json=ask)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, last, end = answer.text.split("\n\n")
    assert (last, end) == ("data: [DONE]", "")
    assert [json.loads(event.removeprefix("data: "))["object"] for event in events] == ["chat.completion.chunk"] * 5


@pytest.mark.parametrize("part", ["error_of_the_worker", "error_while_streaming"])
def test_an_error_of_the_worker_is_an_error_of_the_client(told: dict[str, Any], part: str) -> None:
    assert told[part]["status"] is None or told[part]["status"] >= 400
    assert "huge-model" in told[part]["message"]


def test_a_wrong_key(told: dict[str, Any]) -> None:
    assert told["wrong_key"]["api"] == "AuthenticationError"


def test_a_body_that_is_no_json(deployed: Deployments) -> None:
    refused(deployed.endpoint("openai_like").post("openai/v1/chat/completions", content=b"{not json"), 400)
