"""The way to a platform of which there is HTTP alone: the frames of one turn of the loop go in one request.

What was accepted is in the answer; how calls end comes on the event stream, in frames, too.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from runpod_flash.backends.conversation import Conversation
from runpod_flash.backends.waiting import Kind, Waiting, frames_of, header_frame
from runpod_flash.errors import FlashError
from worker_runtime.wire import frames
from worker_runtime.wire.calls import Buffer
from worker_runtime.wire.frames import Header

AT_ONCE: Final = 4
"""How many requests are under way at a time. What comes while they are goes together in the next."""

_BYTES: Final = 16 * 1024**2  # about the most of one request

Post = Callable[[Callable[[int], bytes]], Awaitable[bytes]]
"""Posts the body that is made for the number of the attempt, from 0; gives the answer's. Raises a FlashError."""


@dataclass(frozen=True, slots=True)
class _Some:
    """Calls of one kind that go together, or a frame of another type, made already or not."""

    header: Header | None = None
    made: Sequence[Buffer] = ()
    kind: Kind | None = None
    calls: Sequence[Waiting] = ()
    fresh: bool = False

    def frames(self, attempt: int) -> list[Buffer]:
        """The frames. A later attempt may not be the first to arrive."""
        if self.made:
            return list(self.made)
        if self.kind is None:
            return header_frame(self.header or {})
        return frames_of(self.kind, [each for each in self.calls if not each.done()], fresh=self.fresh and not attempt)

    @property
    def size(self) -> int:
        """About how many bytes it has."""
        return sum(each.arguments.size + 64 for each in self.calls if each.arguments is not None)


class Posts:
    """A `Way`. Belongs to one connection; what is under way when that is lost is submitted again by the next."""

    lends = False

    def __init__(self, post: Post, conversation: Conversation) -> None:
        self._post, self._conversation = post, conversation
        self._loop = asyncio.get_running_loop()
        self._some: list[_Some] = []
        self._posting: set[asyncio.Task[None]] = set()
        self._planned = False

    def submit(self, kind: Kind, some: Sequence[Waiting], *, fresh: bool) -> None:
        self._add(_Some(kind=kind, calls=some, fresh=fresh))

    def write(self, pieces: list[Buffer]) -> None:
        self._add(_Some(made=pieces))

    def tell(self, header: Header) -> None:
        self._add(_Some(header))

    def close(self) -> None:
        """End what is under way."""
        self._some.clear()
        for task in self._posting:
            task.cancel()

    def _add(self, some: _Some) -> None:
        self._some.append(some)
        if not self._planned and len(self._posting) < AT_ONCE:
            self._planned = True
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        self._planned = False
        while self._some and len(self._posting) < AT_ONCE:
            together, size = list[_Some](), 0
            while self._some and (not together or size + self._some[0].size <= _BYTES):
                size += self._some[0].size
                together.append(self._some.pop(0))
            task = self._loop.create_task(self._bring(together), name="flash-calls")
            self._posting.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._posting.discard(task)
        self._start()

    async def _bring(self, together: Sequence[_Some]) -> None:
        def body(attempt: int) -> bytes:
            return b"".join(piece for some in together for piece in some.frames(attempt))

        try:
            answer = await self._post(body)
            for header, rest in frames.Splitter().feed(answer):
                self._conversation.take(header, rest)
        except FlashError as error:
            self._conversation.fail([each for some in together for each in some.calls], error)
