"""A client of an endpoint that is there: jobs with plain input, and HTTP requests. Light to import.

`ClientVerbs` needs to know where the endpoint is, and through which session requests go; whoever has both, or can find
them out, gets all verbs by inheriting.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast

from runpod_flash import lazy
from runpod_flash.calls import Ticket
from runpod_flash.duals import DualIterator, dual
from runpod_flash.errors import CallError, FlashError, ResponseError, WaitTimedOut
from runpod_flash.hardware import ServerlessType
from runpod_flash.http_verbs import http_verb
from runpod_flash.job_input import PlainJob, plain_job
from worker_runtime.wire.ids import ordered_hex

if TYPE_CHECKING:
    from runpod_flash.backends.base import Backend
    from runpod_flash.job import EndpointJob
    from runpod_flash.session import Session
    from runpod_flash.web import WebAnswer, WebRequest

RUNSYNC_S: Final = 60.0
"""How long `runsync` waits by default, in seconds."""

_CANCEL_S = 2.0
_SAID = 700  # characters of each end of an answer that a message shows


@dataclass(frozen=True, slots=True)
class Located:
    """An endpoint on the platform: its id, what messages call it, and what its requests have as headers."""

    id: str
    name: str
    headers: Mapping[str, str] = field(default_factory=dict)


class ClientVerbs:
    """What can be asked of an endpoint.

    `run`, `runsync`, `status`, `cancel`, `health` and `purge` block, but where an event loop runs in this thread they
    give a coroutine to be awaited; `run.blocking()` and `run.aio()` are unambiguous. `get`, `post`, `put`, `delete` and
    `patch` give something to be awaited; `get.blocking()` blocks.
    """

    get: http_verb = http_verb("GET")
    post: http_verb = http_verb("POST")
    put: http_verb = http_verb("PUT")
    delete: http_verb = http_verb("DELETE")
    patch: http_verb = http_verb("PATCH")

    async def _located(self, kind: ServerlessType | None = None) -> Located:
        """Where the endpoint is, found or made; `kind`: for jobs (QB), for HTTP requests (LB) or for either.

        Raises BackendError, ConfigError.
        """
        raise NotImplementedError

    @property
    def _session(self) -> "Session":
        """The session of this context."""
        return cast("Session", lazy.load("runpod_flash.session").current())

    def _decorate(self, method: str, path: str, function: Any) -> Any:
        """What `@endpoint.get(path)` gives back. Raises CallError: this endpoint takes no routes."""
        shown = f"@….{method.lower()}({path!r})"
        raise CallError(
            f"{shown} cannot decorate: this endpoint is a client of one that is there already. To make a request, "
            f"await endpoint.{method.lower()}({path!r}); to serve routes, declare an Endpoint(name=…) of your own"
        )

    @dual
    async def run(
        self,
        input: Any,  # noqa: A002 - the word of the published API
        *,
        webhook: str | None = None,
        execution_timeout: float | None = None,
        ttl: float | None = None,
        priority: str = "normal",
    ) -> "EndpointJob[Any]":
        """Submit a job and return its handle at once.

        Args:
            input: a dict; or a whole body: "input", which is one, and nothing else but webhook, policy and s3Config.
            webhook: the URL that is told the end.
            execution_timeout: how long an attempt may run, in seconds.
            ttl: how long the job may live, waiting and running, in seconds.
            priority: "normal", or "low": it waits for workers that others have brought, instead of starting some.

        Raises:
            CallError: the input or an option is wrong; nothing was sent.
            EndpointNotFound, PayloadTooLarge, BackendError: the platform does not take it.
        """
        job = _checked(input, webhook=webhook, execution_timeout=execution_timeout, ttl=ttl, priority=priority)
        endpoint, session = await self._located(ServerlessType.QB), self._session
        return _handle(await session.put(endpoint.id, endpoint.name, job.input, job.options), session)

    @dual
    async def runsync(
        self,
        input: Any,  # noqa: A002
        timeout: float = RUNSYNC_S,
        *,
        webhook: str | None = None,
        execution_timeout: float | None = None,
        ttl: float | None = None,
        priority: str = "normal",
    ) -> "EndpointJob[Any]":
        """Submit a job and wait for its end, well or not, for at most `timeout` seconds (1 or more).

        Cancelling the awaiting task cancels the job, where the platform lets one find it. The rest is as for `run`.

        Raises:
            WaitTimedOut: it has not ended; the job lives on, and the message has its id.
        """
        job = _checked(input, webhook=webhook, execution_timeout=execution_timeout, ttl=ttl, priority=priority)
        limit_s = lazy.load("runpod_flash.web").seconds("timeout", timeout, 1.0)
        if limit_s is None:
            raise CallError("timeout= of runsync is None; it must be a number of seconds; run() does not wait")
        return await _run_sync(self._session, await self._located(ServerlessType.QB), job, limit_s)

    @dual
    async def status(self, job_id: str) -> "EndpointJob[Any]":
        """The handle of a job of this endpoint, asked for now: its `done`, `output` and `error` are fresh.

        Raises:
            JobNotFound: there is no such job.
        """
        job = await self._job(job_id)
        await job.status.aio()
        return job

    @dual
    async def cancel(self, job_id: str) -> "EndpointJob[Any]":
        """Cancel a job of this endpoint; one that has ended stays as it is. Raises JobNotFound."""
        return await (await self._job(job_id)).cancel.aio()

    def stream(self, job_id: str) -> DualIterator[Any]:
        """What a job of this endpoint yields: `async for`, or plain `for` in blocking code. See EndpointJob.stream."""

        async def items() -> AsyncIterator[Any]:
            async with contextlib.aclosing((await self._job(job_id)).stream()) as stream:
                async for item in stream:
                    yield item

        return DualIterator(items(), self._session)

    @dual
    async def health(self) -> dict[str, Any]:
        """How many `jobs` and `workers` the endpoint has, in which states, as the published API says it."""
        endpoint = await self._located()
        return dict(await (await self._session.backend()).health(endpoint.id))

    @dual
    async def purge(self) -> int:
        """Cancel the jobs that wait for a worker; returns how many. Those that run go on."""
        endpoint = await self._located(ServerlessType.QB)
        return await (await self._session.backend()).purge(endpoint.id)

    async def _job(self, job_id: str) -> "EndpointJob[Any]":
        if not isinstance(job_id, str) or not job_id:
            raise CallError(f"the id of a job is {job_id!r:.80}; it must be a text such as job.id")
        endpoint = await self._located(ServerlessType.QB)
        return _handle(Ticket(job_id, endpoint.id, endpoint.name), self._session)

    async def _request(self, asked: "WebRequest") -> Any:
        """The value of the answer. Raises ResponseError, WaitTimedOut, EndpointNotFound, BackendError."""
        asyncio = lazy.load("asyncio")
        try:
            async with asyncio.timeout(asked.timeout_s):
                endpoint = await self._located(ServerlessType.LB)
                full = replace(asked, headers={**endpoint.headers, **asked.headers})
                answer = await (await self._session.backend()).request(endpoint.id, full)
        except TimeoutError as error:
            if isinstance(error, FlashError):
                raise
            raise WaitTimedOut(f"{asked} has no answer after {asked.timeout_s:g} s; the request was dropped") from None
        if answer.is_good:
            return answer.value()
        raise _bad_answer(asked, endpoint, answer)


async def _run_sync(session: "Session", endpoint: Located, job: PlainJob, limit_s: float) -> "EndpointJob[Any]":
    asyncio, backend, key = lazy.load("asyncio"), await session.backend(), ordered_hex()
    end, job_id = asyncio.get_running_loop().time() + limit_s, ""
    if session.journal is not None:
        session.journal.submitting(key, endpoint.name, endpoint.id, "runsync")
    try:
        seen = await backend.run_sync(endpoint.id, job.input, key, job.options, limit_s)
        job_id = str(seen.get("id", ""))
        if session.journal is not None:
            session.journal.acknowledged(key, job_id)
        ticket = Ticket(job_id, endpoint.id, endpoint.name)
        handle = cast("EndpointJob[Any]", await lazy.load("runpod_flash.job").seen(ticket, session, seen))
        if not handle.done:
            await handle.wait.aio(timeout=max(0.0, end - asyncio.get_running_loop().time()))
    except asyncio.CancelledError:
        with contextlib.suppress(FlashError, TimeoutError):
            async with asyncio.timeout(_CANCEL_S):
                await _cancel(backend, endpoint.id, job_id, key)
        raise
    return handle


async def _cancel(backend: "Backend", endpoint_id: str, job_id: str, key: str) -> None:
    """Cancel a job by its id, or by its key where nobody has heard of its id and the platform knows keys."""
    if not job_id:
        job_id = str((await backend.find_submitted([key]) or {}).get(key, {}).get("id", ""))
    if job_id:
        await backend.cancel(endpoint_id, job_id)


def _bad_answer(asked: "WebRequest", endpoint: Located, answer: "WebAnswer") -> ResponseError:
    body = answer.value()
    detail = body.get("detail") if isinstance(body, dict) else None
    said = _shortened(detail if isinstance(detail, str) else answer.body.decode(errors="replace")).strip()
    where = f"; it points to {answer.headers['location']}" if "location" in answer.headers else ""
    message = f"{asked} of endpoint '{endpoint.name}' was answered with status {answer.status}{where}"
    return ResponseError(
        f"{message}: {said}" if said else message, status=answer.status, body=body, headers=answer.headers
    )


def _shortened(text: str) -> str:
    """Beginning and end: what went wrong in a worker stands at the end."""
    return text if len(text) <= 2 * _SAID else f"{text[:_SAID]} […] {text[-_SAID:]}"


def _checked(given: Any, **options: Any) -> PlainJob:
    job = plain_job(given, **options)
    lazy.load("runpod_flash.web").as_json("the input of a job", dict(job.input))
    return job


def _handle(ticket: Ticket, session: "Session") -> "EndpointJob[Any]":
    return cast("EndpointJob[Any]", lazy.load("runpod_flash.job").EndpointJob(ticket, session))
