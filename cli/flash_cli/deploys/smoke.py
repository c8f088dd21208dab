"""A first sign of life of what was deployed: workers come up, load the code and say so. Nothing of it is called."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from runpod_flash import outcome
from runpod_flash.backends.base import Backend, Json
from runpod_flash.errors import FlashError
from runpod_flash.web import WebRequest
from worker_runtime.wire import PROTOCOL

_OTHERS_FAULT = ("queued", "no_capacity", "paused")  # causes of waiting that say nothing of the code
_LAST_LINES = 20
_TOLD = 4_000  # characters of what a worker says


class _NoWorker(Exception):
    """No worker could be had; the words say why."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """An endpoint of a stage. `runs_code`: its workers run shipped code; else a container of an image."""

    id: str
    name: str
    url: str
    is_balanced: bool
    generation: int
    runs_code: bool = True
    most_workers: int = 1

    @classmethod
    def of(cls, endpoint: Json, body: Json) -> "Deployed":
        """Read it from a stage, and the body that was deployed."""
        return cls(
            id=str(endpoint["id"]),
            name=str(endpoint["name"]),
            url=str(endpoint.get("url") or ""),
            is_balanced=endpoint.get("type") == "LOAD_BALANCER",
            generation=int(endpoint.get("generation") or 0),
            runs_code=endpoint.get("artifact") is not None,
            most_workers=int((body.get("workers") or {}).get("max", 1)),
        )

    @property
    def untested(self) -> str:
        """Why it cannot be tried; empty where it can."""
        if not self.most_workers:
            return "it has no workers (workers max is 0)"
        return "" if self.runs_code or self.is_balanced else "what its image takes is not known"


@dataclass(frozen=True, slots=True)
class Smoked:
    """How it went.

    Attributes:
        endpoint: its name.
        words: what the worker says; empty where all is well.
        took_s: how long it took, in seconds.
        untried: why no worker could be tried, which says nothing of the code; empty where one was.
    """

    endpoint: str
    words: str
    took_s: float
    untried: str = ""

    @property
    def ok(self) -> bool:
        """Whether it lives."""
        return not self.words

    def to_json(self) -> dict[str, Any]:
        """As programs read it."""
        told = {"ok": None if self.untried else self.ok, "error": self.words or None, "untried": self.untried or None}
        return {"endpoint": self.endpoint, **told, "seconds": round(self.took_s, 3)}


async def smoke(
    backend: Backend, endpoints: Sequence[Deployed], timeout_s: float, said: Callable[[Smoked], None]
) -> list[Smoked]:
    """Try all at once, each for `timeout_s` seconds at most; `said` is told each as it ends."""

    async def one(endpoint: Deployed) -> Smoked:
        start = time.monotonic()
        words, untried = "", endpoint.untested
        if not untried:
            try:
                words = await _tried(backend, endpoint, timeout_s)
            except _NoWorker as error:
                untried = str(error)
        smoked = Smoked(endpoint.name, words[:_TOLD], time.monotonic() - start, untried)
        said(smoked)
        return smoked

    return list(await asyncio.gather(*(one(endpoint) for endpoint in endpoints)))


async def _tried(backend: Backend, endpoint: Deployed, timeout_s: float) -> str:
    try:
        await backend.describe(endpoint.id)  # from then on what it waits for is shown with its name
        if endpoint.is_balanced:
            return await _pinged(backend, endpoint, timeout_s)
        return await _checked(backend, endpoint, timeout_s)
    except FlashError as error:
        return str(error) or type(error).__name__


async def _pinged(backend: Backend, endpoint: Deployed, timeout_s: float) -> str:
    """Ask a worker of this version, not of the one before, whether it is well."""
    asked = WebRequest("GET", "/ping", {"X-Flash-Version": str(endpoint.generation)}, timeout_s=timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            answer = await backend.request(endpoint.id, asked)
    except TimeoutError:
        return f"no worker was healthy within {timeout_s:g} s{await _why(backend, endpoint)}"
    if answer.is_good:
        return ""
    text = answer.body.decode(errors="replace").strip()
    return f"GET /ping was answered with status {answer.status}: {text}"


async def _checked(backend: Backend, endpoint: Deployed, timeout_s: float) -> str:
    """Let a worker load the code, and of a class make the object that plain calls share."""
    call = {"flash": {"protocol": PROTOCOL, "check": True}}
    job_id = await backend.submit(endpoint.id, call, uuid.uuid4().hex)
    try:
        async with asyncio.timeout(timeout_s):
            job = await backend.outcome(endpoint.id, job_id)
    except TimeoutError:
        kind, text = await _cause(backend, job_id)
        with contextlib.suppress(FlashError):
            await backend.cancel(endpoint.id, job_id)
        if kind in _OTHERS_FAULT:
            raise _NoWorker(f"no worker was free within {timeout_s:g} s: {text}") from None
        return f"no worker had loaded the code within {timeout_s:g} s{f': {text}' if text else ''}"
    except asyncio.CancelledError:
        with contextlib.suppress(FlashError):
            await backend.cancel(endpoint.id, job_id)
        raise
    if outcome.succeeded(job):
        return ""
    failure = outcome.failure_of(job, endpoint.name)
    lines: Sequence[str] = ()
    with contextlib.suppress(FlashError):
        lines = await backend.logs(endpoint.id, job_id)
    notes = getattr(failure, "__notes__", ())
    return "\n".join([f"{_kind(failure)}{failure}", *notes, *lines[-_LAST_LINES:]])


def _kind(failure: Exception) -> str:
    """The class of the user's own exceptions; ours say it in words."""
    return "" if isinstance(failure, FlashError) else f"{type(failure).__name__}: "


async def _cause(backend: Backend, job_id: str) -> tuple[str, str]:
    """Why a job waits: the kind and the words; both empty where nobody knows."""
    with contextlib.suppress(FlashError):
        cause = (await backend.facts(job_id)).get("cause") or {}
        return str(cause.get("kind") or ""), str(cause.get("text") or "")
    return "", ""


async def _why(backend: Backend, endpoint: Deployed) -> str:
    with contextlib.suppress(FlashError):
        workers = (await backend.health(endpoint.id)).get("workers") or {}
        counted = ", ".join(f"{count} {name}" for name, count in workers.items() if count)
        return f" (workers: {counted or 'none'}; `flash logs {endpoint.name}` shows what they wrote)"
    return ""
