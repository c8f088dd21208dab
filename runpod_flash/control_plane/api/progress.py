"""Answers that take long: a JSON object a line while it goes on, the last one with the result."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from runpod_flash.control_plane.problems import response_for

BEAT_S = 10.0
"""After so many seconds without progress a line says that it goes on."""

Json = Mapping[str, Any]
Work = Callable[[Callable[[Json], None]], Awaitable[Json]]


async def progress_lines(work: Work, beat_s: float = BEAT_S) -> AsyncGenerator[bytes, None]:
    """What `work` tells of itself, then `{"event": "done", …}` or `{"event": "failed", …}` with a problem.

    Where nobody reads any more, the work is cancelled.
    """
    told: asyncio.Queue[Json] = asyncio.Queue()
    task = asyncio.ensure_future(work(told.put_nowait))
    try:
        while not (task.done() and told.empty()):
            waiting = asyncio.ensure_future(told.get())
            try:
                await asyncio.wait([waiting, task], timeout=beat_s, return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    yield _line(waiting.result())
                elif not task.done():
                    yield _line({"event": "beat"})
            finally:
                waiting.cancel()
        yield _line(_end(task))
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


def _end(task: "asyncio.Future[Json]") -> Json:
    try:
        return {"event": "done", **task.result()}
    except Exception as error:  # noqa: BLE001 a border: it becomes a problem, as in any other answer
        return {"event": "failed", **json.loads(bytes(response_for(error).body))}


def _line(event: Json) -> bytes:
    return json.dumps(event).encode() + b"\n"
