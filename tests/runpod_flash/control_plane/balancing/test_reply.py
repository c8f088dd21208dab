"""The answer to a client, as far as it has been sent."""

import asyncio
from typing import Any

import pytest

from runpod_flash.control_plane.balancing.inbound import Inbound
from runpod_flash.control_plane.balancing.reply import Reply
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.problems import Problem
from tests.support.balanced import until

pytestmark = pytest.mark.anyio


class Client:
    """A client whose body goes on until the test ends it."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def reply(self) -> Reply:
        return Reply({"type": "http"}, self.messages.get, self.send, "w1")

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def kinds(self) -> list[tuple[str, object]]:
        return [(message["type"].rpartition(".")[2], message.get("more_body")) for message in self.sent]


async def test_a_problem_takes_the_place_of_an_answer_that_has_not_begun() -> None:
    client = Client()
    await client.reply().fail(Problem(504, "late"))
    assert client.sent[0]["status"] == 504
    assert (b"x-runpod-worker-id", b"w1") in client.sent[0]["headers"]


async def test_what_has_begun_stays_incomplete() -> None:
    client = Client()
    reply = client.reply()
    await reply.start(200, [])
    await reply.part(b"a")
    await reply.fail(Problem(502, "broken"))
    await reply.too_large(Inbound(client.messages.get, 1), Limits())
    assert client.kinds == [("start", None), ("body", True)]


async def test_too_much_is_refused_at_once_and_the_answer_ends_when_the_body_has() -> None:
    client = Client()
    async with Inbound(client.messages.get, 1).reading() as inbound:
        client.messages.put_nowait({"type": "http.request", "body": b"12", "more_body": True})
        refusing = asyncio.create_task(client.reply().too_large(inbound, Limits()))
        await until(lambda: len(client.sent) == 2)
        assert client.sent[0]["status"] == 413
        await asyncio.sleep(0)
        assert client.kinds == [("start", None), ("body", True)]
        client.messages.put_nowait({"type": "http.request", "body": b"3", "more_body": False})
        await asyncio.wait_for(refusing, 5)
        assert client.kinds == [("start", None), ("body", True), ("body", False)]
