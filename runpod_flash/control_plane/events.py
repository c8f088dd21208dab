"""What clients are told, and the streams that carry it: how their calls end, what they wait for and what they write."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from runpod_flash.control_plane.outbox import Form, Frames, Lines, Outbox, Render, event_text
from runpod_flash.control_plane.records import JobRecord
from worker_runtime.wire import PROTOCOL, calls, frames

BEAT_S = 15.0
LOSABLE_LIMIT = 8 * 1024**2
JOBS_LIMIT = 256 * 1024**2


class EventHub:
    """One stream for each client id. What is published for a client without a stream is dropped; it has to ask.

    See `Outbox` for what becomes of a client that does not read.

    Attributes:
        last_left: when the last stream ended, in monotonic seconds; 0 before.
    """

    def __init__(
        self, *, beat_s: float = BEAT_S, losable_limit: int = LOSABLE_LIMIT, jobs_limit: int = JOBS_LIMIT
    ) -> None:
        self._beat_s = beat_s
        self._losable_limit = losable_limit
        self._jobs_limit = jobs_limit
        self._outboxes: dict[str, Outbox] = {}
        self._closed = False
        self.last_left = 0.0

    @property
    def clients(self) -> frozenset[str]:
        """The ids of the connected clients."""
        return frozenset(self._outboxes)

    def publish(self, client: str, event: Mapping[str, Any]) -> None:
        """Give an event to the client's stream, if it has one."""
        outbox = self._outboxes.get(client)
        if outbox is not None:
            outbox.losable(event)

    def ended(self, client: str, record: JobRecord, render: Render) -> None:
        """Tell the client's stream, if it has one, the end of a job, which looks as `render` says."""
        outbox = self._outboxes.get(client)
        if outbox is not None:
            outbox.ended(record, lambda: final_event(record, render))

    def attach(self, client: str, form: Form, wake: Callable[[], None]) -> Outbox | None:
        """The client's stream from now on; None where the hub is closed. Another one of the same client ends."""
        if self._closed:
            return None
        outbox = Outbox(form, wake, self._losable_limit, self._jobs_limit)
        if (old := self._outboxes.get(client)) is not None:
            old.end()
        self._outboxes[client] = outbox
        return outbox

    def detach(self, client: str, outbox: Outbox) -> None:
        """The client has gone, or has another stream."""
        self.last_left = time.monotonic()
        if self._outboxes.get(client) is outbox:
            del self._outboxes[client]

    async def stream(self, client: str, *, framed: bool = False) -> AsyncIterator[bytes]:
        """The client's events from now on, as whole lines or frames; a beat where there is nothing for long.

        Ends when the hub closes and when the same client opens another stream.
        """
        news = asyncio.Event()
        outbox = self.attach(client, Frames() if framed else Lines(), news.set)
        if outbox is None:
            return
        try:
            yield _greeting(client.rpartition("/")[2], framed=framed)
            while portion := await self._portion(outbox, news, framed=framed):
                yield portion
        finally:
            self.detach(client, outbox)

    async def _portion(self, outbox: Outbox, news: asyncio.Event, *, framed: bool) -> bytes:
        """What there is, or a beat after a while without anything; empty when the stream has ended."""
        try:
            async with asyncio.timeout(self._beat_s):
                await news.wait()
        except TimeoutError:
            return b"".join(frames.encode({"type": calls.BEAT})) if framed else event_text({"event": "beat"}) + b"\n"
        if not outbox.has_ended:
            news.clear()
        return b"".join(outbox.take())

    def disconnect(self, beginning: str) -> None:
        """End the streams of the clients whose ids begin so; who still may comes back."""
        for client, outbox in list(self._outboxes.items()):
            if client.startswith(beginning):
                outbox.end()

    def close(self) -> None:
        """End every stream, so that the server can stop; later ones end at once."""
        self._closed = True
        for outbox in list(self._outboxes.values()):
            outbox.end()


def final_event(record: JobRecord, render: Render) -> bytes:
    """The event that tells the end of a job. Its `key` is for those who do not know the job's id yet."""
    event = {"event": "job", "job": render(record, time.time())}
    return event_text(event if record.idempotency_key is None else {**event, "key": record.idempotency_key})


def _greeting(client: str, *, framed: bool) -> bytes:
    if framed:
        return b"".join(frames.encode({"type": calls.WELCOME, "protocol": PROTOCOL, "client": client}))
    return event_text({"event": "hello", "client": client, "protocol": PROTOCOL}) + b"\n"
