"""What stands around every application that a worker serves. Standard library only.

It answers the health check, tells the application under which path clients reach it, and ends a request whose client
has gone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

logger = logging.getLogger("uvicorn.error")  # where the server says it, too

HEALTH_PATH = "/ping"
PREFIX_HEADER = b"x-forwarded-prefix"
"""The path below which clients reach this application."""

_HEALTHY = b'{"status":"healthy"}'
_JSON = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_HEALTHY))]


class Guarded:
    """An application behind all that. It is healthy as soon as it is asked: before, its start has ended."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One ASGI conversation."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        if scope["type"] == "http" and scope["path"] == HEALTH_PATH and scope["method"] in ("GET", "HEAD"):
            await send({"type": "http.response.start", "status": 200, "headers": _JSON})
            await send({"type": "http.response.body", "body": _HEALTHY if scope["method"] == "GET" else b""})
            return
        prefix = next((value for name, value in scope["headers"] if name == PREFIX_HEADER), b"")
        if prefix:
            scope["root_path"] = prefix.decode("latin-1")
        if scope["type"] == "http":
            request = _Request(receive, send)
            try:
                await request.run(self._application, scope)
            except Exception as error:
                if not request.answered:
                    raise
                # The server would close the connection after its answer, while the gateway may use it again.
                logger.error("Exception in ASGI application\n", exc_info=error)
        else:
            await self._application(scope, receive, send)


class _Request:
    """One request. When the client goes before it has the whole answer, the application is cancelled.

    Of the request's body one part is read ahead, as only what comes after the last part tells that the client has gone.

    Attributes:
        answered: whether the application has given the whole answer.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._parts: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        self._heard_all = False
        self.answered = False
        self._gone = asyncio.Event()

    async def run(self, application: Application, scope: MutableMapping[str, Any]) -> None:
        """Let the application answer."""
        work = asyncio.ensure_future(application(scope, self._hear, self._say))
        watch = asyncio.ensure_future(self._watch(work))
        try:
            await work
        except asyncio.CancelledError:
            if not self._gone.is_set() or self.answered:
                raise
        finally:
            for task in (watch, work):
                task.cancel()
            await asyncio.wait([watch, work])

    async def _watch(self, work: "asyncio.Future[None]") -> None:
        while (message := await self._receive())["type"] != "http.disconnect":
            await self._parts.put(message)
        self._gone.set()
        if not self.answered:
            work.cancel()
        await self._parts.put(message)

    async def _hear(self) -> Message:
        if self._heard_all:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        message = await self._parts.get()
        self._heard_all = not message.get("more_body", False)
        return message

    async def _say(self, message: Message) -> None:
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        self.answered = self.answered or last
        await self._send(message)
