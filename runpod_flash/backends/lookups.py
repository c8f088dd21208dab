"""Questions about many jobs, asked in few requests: what is wanted in one turn of the loop goes together.

A client with thousands of waiting calls that lost its event stream asks a handful of times, not thousands of times.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar

from runpod_flash.backends.base import Json
from runpod_flash.errors import BackendError, FlashError, JobNotFound

T = TypeVar("T")

AT_ONCE = 1000
"""The most jobs of one request: as many as a platform takes."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a platform says of jobs: which are final, whose end it will announce, which it does not have.

    Jobs that were asked for and are in none of the three did not fit into the answer.
    """

    final: Sequence[Json] = ()
    waiting: Sequence[str] = ()
    unknown: Sequence[str] = ()

    @classmethod
    def of(cls, answer: Json) -> "Looked":
        """Read the answer of `POST /flash/v1/jobs/watch`. Raises BackendError: it is none."""
        jobs, waiting, unknown = (answer.get(name) for name in ("jobs", "waiting", "unknown"))
        if not (_holds(jobs, dict) and _holds(waiting, str) and _holds(unknown, str)):
            raise BackendError(f"the platform's answer about jobs is not readable ({answer!r:.80}); is the URL right?")
        return cls(jobs, waiting, unknown)


Ask = Callable[[Sequence[str]], Awaitable[Looked]]
"""Asks the platform for up to `AT_ONCE` jobs. Raises a FlashError."""


class Lookups:
    """Brings questions for single jobs together. Belongs to one event loop; one request is under way at a time."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._wanted: dict[str, list[asyncio.Future[Json | None]]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def look(self, job_id: str) -> Json | None:
        """The job if it is final; None if it is not yet, or if the platform could not say.

        Raises:
            JobNotFound: the platform has no such job.
            BackendError: whatever the request failed with.
        """
        future: asyncio.Future[Json | None] = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(job_id, []).append(future)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._answer_all(), name="flash-lookups")
        return await future

    async def _answer_all(self) -> None:
        await asyncio.sleep(0)  # whoever asks in this turn of the loop goes along
        while self._wanted:
            wanted = [job_id for job_id, futures in self._wanted.items() if not all(map(_done, futures))]
            self._wanted = {job_id: self._wanted[job_id] for job_id in wanted}
            batch = wanted[:AT_ONCE]
            if batch:
                await self._answer(batch, wanted)

    async def _answer(self, batch: Sequence[str], wanted: Sequence[str]) -> None:
        try:
            looked = await self._ask(batch)
        except FlashError as error:
            for job_id in wanted:  # they have waited as long, and would hear the same
                self._settle(job_id, error)
            return
        for job in looked.final:
            self._settle(str(job.get("id")), job)
        for job_id in looked.waiting:
            self._settle(job_id, None)
        for job_id in looked.unknown:
            message = f"the platform has no job {job_id}; jobs are kept for a limited time after their end"
            self._settle(job_id, JobNotFound(message))
        if all(job_id in self._wanted for job_id in batch):  # no word of any: they may ask again later
            for job_id in batch:
                self._settle(job_id, None)

    def _settle(self, job_id: str, answer: Json | FlashError | None) -> None:
        for future in self._wanted.pop(job_id, []):
            if future.done():
                continue
            if isinstance(answer, FlashError):
                future.set_exception(answer)
            else:
                future.set_result(answer)


def _holds(value: Any, kind: type[T]) -> TypeGuard[list[T]]:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _done(future: "asyncio.Future[Any]") -> bool:
    return future.done()
