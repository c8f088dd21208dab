"""Streams of events to clients: how their calls end, what they wait for and what they write, a JSON object a line."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from worker_runtime.wire import PROTOCOL

logger = logging.getLogger(__name__)

BEAT_S = 15.0
LOSABLE_LIMIT = 8 * 1024**2
JOBS_LIMIT = 256 * 1024**2


class EventHub:
    """One stream for each client id. What is published for a client without a stream is dropped; it has to ask.

    A client that does not read loses log lines and stages above `losable_limit` bytes, and is told how many. The ends
    of jobs are never left out: above `jobs_limit` bytes of them the stream ends, as if the client had gone.

    Attributes:
        last_left: when the last stream ended, in monotonic seconds; 0 before.
    """

    def __init__(
        self, *, beat_s: float = BEAT_S, losable_limit: int = LOSABLE_LIMIT, jobs_limit: int = JOBS_LIMIT
    ) -> None:
        self._beat_s = beat_s
        self._losable_limit = losable_limit
        self._jobs_limit = jobs_limit
        self._streams: dict[str, _Stream] = {}
        self._closed = False
        self.last_left = 0.0

    @property
    def clients(self) -> frozenset[str]:
        """The ids of the connected clients."""
        return frozenset(self._streams)

    def publish(self, client: str, event: Mapping[str, Any]) -> None:
        """Give an event to the client's stream, if it has one."""
        stream = self._streams.get(client)
        if stream is None:
            return
        if event.get("event") == "job":
            stream.add_job(_line(event), self._jobs_limit)
        else:
            stream.add_losable(event, self._losable_limit)

    async def stream(self, client: str) -> AsyncIterator[bytes]:
        """The client's events from now on, as whole lines; a beat where there is nothing for long.

        Ends when the hub closes and when the same client opens another stream.
        """
        if self._closed:
            return
        stream = _Stream()
        if (old := self._streams.get(client)) is not None:
            old.end()
        self._streams[client] = stream
        try:
            yield _line({"event": "hello", "client": client.rpartition("/")[2], "protocol": PROTOCOL})
            while lines := await stream.take(self._beat_s):
                yield lines
        finally:
            self.last_left = time.monotonic()
            if self._streams.get(client) is stream:
                del self._streams[client]

    def disconnect(self, beginning: str) -> None:
        """End the streams of the clients whose ids begin so; who still may comes back."""
        for client, stream in self._streams.items():
            if client.startswith(beginning):
                stream.end()

    def close(self) -> None:
        """End every stream, so that the server can stop; later ones end at once."""
        self._closed = True
        for stream in self._streams.values():
            stream.end()


class _Stream:
    """Lines that one client has not read yet."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._job_bytes = 0
        self._losable_bytes = 0
        self._lost = 0
        self._ended = False
        self._wake = asyncio.Event()

    def add_job(self, line: bytes, limit: int) -> None:
        self._job_bytes += len(line)
        if self._job_bytes > limit:
            logger.warning("a client does not read its events; its stream is ended")
            self._lines.clear()
            self.end()
        self._add(line)

    def add_losable(self, event: Mapping[str, Any], limit: int) -> None:
        if self._losable_bytes >= limit:
            self._lost += 1
            return
        line = _line(event)
        self._losable_bytes += len(line)
        self._add(line)

    def end(self) -> None:
        """No more events; what there is can still be taken."""
        self._ended = True
        self._wake.set()

    async def take(self, beat_s: float) -> bytes:
        """What there is, or a beat after `beat_s` seconds without anything; empty when the stream has ended."""
        try:
            async with asyncio.timeout(beat_s):
                await self._wake.wait()
        except TimeoutError:
            return _line({"event": "beat"})
        if self._lost:
            message = f"{self._lost} log messages were left out: this program did not read them in time"
            self._lines.append(_line({"event": "notice", "key": "events-lost", "name": "", "message": message}))
        lines, self._lines = self._lines, []
        self._job_bytes = self._losable_bytes = self._lost = 0
        if not self._ended:
            self._wake.clear()
        return b"".join(lines)

    def _add(self, line: bytes) -> None:
        if not self._ended:
            self._lines.append(line)
            self._wake.set()


def _line(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"
