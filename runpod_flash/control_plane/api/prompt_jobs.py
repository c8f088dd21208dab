"""`/run`, `/runsync` and `/status` without a task, where a request came in one piece and nothing has to be waited for.

They answer as `jobs` does, by the same rules. What they do not take goes to the app.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Final, Protocol

from starlette.types import Message, Scope

from runpod_flash.control_plane.api.access import client_of
from runpod_flash.control_plane.api.app_jobs import FLASH
from runpod_flash.control_plane.api.asked import Asked
from runpod_flash.control_plane.api.bodies import check_size, header, object_of
from runpod_flash.control_plane.api.job_routes import JobRoutes
from runpod_flash.control_plane.api.jobs import WAIT_DEFAULT_MS, WAIT_MS, JobsApi, brief, wait_of, whole
from runpod_flash.control_plane.http_protocol import Reply
from runpod_flash.control_plane.keys import given_key
from runpod_flash.control_plane.platform import Platform
from runpod_flash.control_plane.principals import PRINCIPAL, Principal
from runpod_flash.control_plane.problems import response_for
from runpod_flash.control_plane.prompt_intake import Begun
from runpod_flash.control_plane.records import EndpointRecord, Submission


class PromptPlatform(Platform, Protocol):
    """What is needed of the platform behind this face, beside what others need."""

    def begin(self, endpoint_id: str, asked: Submission, /) -> Begun | None:
        """Accept a job without waiting for anything; None: `submit` it. Raises as that does."""

    def when_ended(self, begun: Begun, timeout_s: float, heard: Callable[[Exception | None], None], /) -> None:
        """Call `heard` once the job has ended, after so many seconds or when the platform stops.

        It has been accepted by then; else `heard` gets why not.
        """


class _Answer:
    """What a request gets, once. `counted` lasts until then."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._counted: AbstractContextManager[None] | None = None

    def count(self, counted: AbstractContextManager[None]) -> None:
        """The request counts until it is answered. Raises Problem: 429."""
        counted.__enter__()
        self._counted = counted

    def give(self, make: Callable[[], bytes]) -> None:
        """Answer with JSON; with an error where none can be made."""
        try:
            body = make()
        except Exception as error:  # noqa: BLE001 - nobody is above this but the loop
            self.refuse(error)
            return
        self._end()
        self._reply(200, _HEADERS, body)

    def refuse(self, error: Exception) -> None:
        """Answer with an error."""
        self._end()
        response = response_for(error)
        headers = [each for each in response.raw_headers if each[0] != b"content-length"]
        self._reply(response.status_code, headers, bytes(response.body))

    def _end(self) -> None:
        if self._counted is not None:
            self._counted.__exit__(None, None, None)


class PromptJobs:
    """Takes what it can of the job API."""

    def __init__(
        self,
        routes: JobRoutes,
        jobs: JobsApi,
        platform: PromptPlatform,
        identify: Callable[[bytes], Principal | None],
        is_host: Callable[[Scope], bool],
    ) -> None:
        """`identify` says whose key it is; `is_host` whether the request's host names an endpoint, and not its path."""
        self._routes = routes
        self._jobs = jobs
        self._platform = platform
        self._identify = identify
        self._is_host = is_host
        self._ways: Final = {"run": self._run, "runsync": self._runsync, "status": self._status}
        self._late = set[asyncio.Task[None]]()

    def __call__(self, scope: Scope, body: bytes, reply: Reply) -> bool:
        """Answer a request, now or later. False: it is not for here."""
        found = self._routes.first(scope)
        if found is None or found[0].name not in self._ways or scope["method"] == "HEAD" or found[1][2] == FLASH:
            return False
        given = given_key(scope)
        principal = None if given is None else self._identify(given)
        if principal is None or self._is_host(scope) or self._platform.stopping:
            return False
        scope[PRINCIPAL] = principal
        operation, parts = found
        asked, answer = Asked(scope, _nothing, parts[2], parts[4] if operation.of_job else ""), _Answer(reply)
        try:
            endpoint, counted = self._jobs.enter(operation, asked)
            answer.count(counted)
            self._ways[operation.name](asked, endpoint, body, answer)
        except Exception as error:  # noqa: BLE001 - what is no refusal is logged, and told as a failure of ours
            answer.refuse(error)
        return True

    def _status(self, asked: Asked, endpoint: EndpointRecord, body: bytes, answer: _Answer) -> None:
        record = self._platform.job(endpoint.id, asked.job)
        answer.give(lambda: whole(record))

    def _run(self, asked: Asked, endpoint: EndpointRecord, body: bytes, answer: _Answer) -> None:
        wanted = self._submission(asked, endpoint, body, sync=False)
        begun = self._platform.begin(endpoint.id, wanted)
        if begun is None:
            self._submit(endpoint, wanted, None, answer)
            return
        text = partial(brief, begun.job.record)
        begun.written.then(lambda error: answer.give(text) if error is None else answer.refuse(error))

    def _runsync(self, asked: Asked, endpoint: EndpointRecord, body: bytes, answer: _Answer) -> None:
        wait_s = wait_of(asked, WAIT_MS, WAIT_DEFAULT_MS) / 1000
        wanted = self._submission(asked, endpoint, body, sync=True)
        begun = self._platform.begin(endpoint.id, wanted)
        if begun is None:
            self._submit(endpoint, wanted, wait_s, answer)
            return
        job = begun.job

        def heard(error: Exception | None) -> None:
            if error is None:
                answer.give(lambda: whole(job.record))
            else:
                answer.refuse(error)

        self._platform.when_ended(begun, wait_s, heard)

    def _submission(self, asked: Asked, endpoint: EndpointRecord, body: bytes, *, sync: bool) -> Submission:
        client, key = client_of(asked), header(asked, "Idempotency-Key")
        check_size(len(body), self._jobs.most_bytes(sync=sync))
        return self._jobs.submission(asked, endpoint, object_of(body), client, key, sync=sync)

    def _submit(self, endpoint: EndpointRecord, wanted: Submission, wait_s: float | None, answer: _Answer) -> None:
        """Submit what takes longer, in a task; `wait_s`: how long its end is waited for."""
        task = asyncio.ensure_future(self._submitted(endpoint, wanted, wait_s, answer))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _submitted(
        self, endpoint: EndpointRecord, wanted: Submission, wait_s: float | None, answer: _Answer
    ) -> None:
        try:
            record = await self._platform.submit(endpoint.id, wanted)
            if wait_s is not None and not record.status.final:
                record = await self._platform.wait(record.id, wait_s)
        except Exception as error:  # noqa: BLE001 - as above
            answer.refuse(error)
        else:
            answer.give(lambda: brief(record) if wait_s is None else whole(record))


async def _nothing() -> Message:
    """The body is there already."""
    raise RuntimeError("the body of a request was read twice")


_HEADERS: Final = ((b"content-type", b"application/json"),)
