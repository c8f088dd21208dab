"""The target's event stream: what comes is told, a loss and a return once each."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from flash_cli.dev.hearing import Hearing
from flash_cli.dev.upstream import Upstream
from tests.support.balanced import serving, until
from tests.support.dev_server import Target


class Ear:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.turns: list[str] = []

    def hear(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)

    def lost(self, why: str) -> None:
        self.turns.append("lost")

    def back(self) -> None:
        self.turns.append("back")


def test_events_are_told_and_a_stream_that_ends_is_opened_again() -> None:
    end = asyncio.Event()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["path"] == "/flash/v1/events"
        assert scope["query_string"] == b"client=me"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for event in ({"event": "hello"}, {"event": "log", "lines": ["a"]}):
            await send({"type": "http.response.body", "body": json.dumps(event).encode() + b"\n", "more_body": True})
        await end.wait()
        end.clear()
        await send({"type": "http.response.body", "body": b""})

    async def test() -> None:
        target, ear = Target(answer), Ear()
        async with serving(target) as port:
            target.port = port
            upstream = Upstream(target.address)
            hearing = Hearing(upstream, "me", ear)
            task = asyncio.create_task(hearing.listen())
            await until(lambda: len(ear.events) == 1)
            assert ear.turns == []
            end.set()
            await until(lambda: ear.turns == ["lost", "back"])
            await until(lambda: len(ear.events) == 2)
            end.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await upstream.close()

    asyncio.run(asyncio.wait_for(test(), 30))


def test_a_target_that_refuses_is_lost_once() -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"no key"})

    async def test() -> None:
        target, ear = Target(answer), Ear()
        async with serving(target) as port:
            target.port = port
            upstream = Upstream(target.address)
            task = asyncio.create_task(Hearing(upstream, "me", ear).listen())
            await until(lambda: len(target.scopes) >= 3)
            assert ear.turns == ["lost"]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await upstream.close()

    asyncio.run(asyncio.wait_for(test(), 30))
