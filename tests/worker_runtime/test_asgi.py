"""What stands around a served application, spoken to as a server does."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from worker_runtime.asgi import Guarded

Scope = dict[str, Any]
WHOLE = {"type": "http.request", "body": b"all", "more_body": False}
GONE = {"type": "http.disconnect"}


def scope(path: str = "/x", method: str = "GET", **headers: str) -> Scope:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "path": path, "method": method, "headers": raw, "root_path": ""}


class Client:
    """The server's side of one request: what comes in, in the test's hands, and what was answered."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.answered: list[dict[str, Any]] = []
        self.read = 0
        for message in messages:
            self.incoming.put_nowait(message)

    async def receive(self) -> dict[str, Any]:
        message = await self.incoming.get()
        self.read += 1
        return message

    async def send(self, message: Any) -> None:
        self.answered.append(message)

    async def ask(self, application: Any, asked: Scope | None = None) -> None:
        await asyncio.wait_for(Guarded(application)(asked or scope(), self.receive, self.send), 10)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def plain() -> None:
        asyncio.run(test())

    plain.__name__, plain.__doc__ = test.__name__, test.__doc__
    return plain


async def answer(send: Any, body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def never(*_: Any) -> None:
    raise AssertionError("the application was asked")


@pytest.mark.parametrize(("method", "body"), [("GET", b'{"status":"healthy"}'), ("HEAD", b"")])
def test_health_is_answered_without_the_application(method: str, body: bytes) -> None:
    client = Client()
    asyncio.run(client.ask(never, scope("/ping", method)))
    assert [client.answered[0]["status"], client.answered[1]["body"]] == [200, body]


@run
async def test_the_application_hears_below_which_path_it_is_and_all_else_unchanged() -> None:
    seen: list[Scope] = []

    async def application(asked: Scope, receive: Any, send: Any) -> None:
        seen.append(asked)
        if asked["type"] == "http":
            await answer(send, (await receive())["body"])

    client = Client(WHOLE)
    await client.ask(application, scope("/ping", "POST", x_forwarded_prefix="/lb/abc"))
    assert (seen[0]["root_path"], client.answered[-1]["body"]) == ("/lb/abc", b"all")
    await client.ask(application, {"type": "lifespan"})
    await client.ask(application, {**scope(), "type": "websocket"})
    assert [each["type"] for each in seen] == ["http", "lifespan", "websocket"]


@run
async def test_a_client_that_goes_ends_the_request_though_nobody_reads_it() -> None:
    client, ended, begun = Client(WHOLE), asyncio.Event(), asyncio.Event()

    async def application(asked: Scope, receive: Any, send: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    asking = asyncio.ensure_future(client.ask(application))
    await begun.wait()
    assert not asking.done()
    client.incoming.put_nowait(GONE)
    await asking
    assert ended.is_set()
    assert client.answered == []


@run
async def test_a_client_that_goes_in_the_middle_of_its_body_or_of_the_answer_ends_it_too() -> None:
    part = {"type": "http.request", "body": b"a", "more_body": True}

    async def reads(asked: Scope, receive: Any, send: Any) -> None:
        while True:
            await receive()

    await Client(part, GONE).ask(reads)
    client = Client(WHOLE)

    async def streams(asked: Scope, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            client.incoming.put_nowait(GONE)
            await asyncio.sleep(0)

    await client.ask(streams)
    assert client.answered[0]["status"] == 200


@run
async def test_what_goes_on_after_the_whole_answer_is_left_alone() -> None:
    client, done = Client(WHOLE), []

    async def application(asked: Scope, receive: Any, send: Any) -> None:
        await answer(send)
        client.incoming.put_nowait(GONE)
        for _ in range(5):
            await asyncio.sleep(0)
        done.append((await receive())["type"])  # the body, which it has not read
        done.append((await receive())["type"])

    await client.ask(application)
    assert done == ["http.request", "http.disconnect"]


@run
async def test_one_part_of_a_body_is_read_ahead_and_no_more() -> None:
    parts = [{"type": "http.request", "body": b"%d" % number, "more_body": number < 3} for number in range(4)]
    client, reads, heard = Client(*parts), asyncio.Event(), []

    async def application(asked: Scope, receive: Any, send: Any) -> None:
        await reads.wait()
        while True:
            message = await receive()
            heard.append(message["body"])
            if not message["more_body"]:
                break
        await answer(send)

    asking = asyncio.ensure_future(client.ask(application))
    for _ in range(20):
        await asyncio.sleep(0)
    assert client.read == 2  # one is kept, one is in hand
    reads.set()
    await asking
    assert heard == [b"0", b"1", b"2", b"3"]


@run
async def test_failures_and_cancellations_from_elsewhere_go_on() -> None:
    async def fails(*_: Any) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await Client(WHOLE).ask(fails)

    async def waits(*_: Any) -> None:
        await asyncio.Event().wait()

    task = asyncio.ensure_future(Client(WHOLE).ask(waits))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
