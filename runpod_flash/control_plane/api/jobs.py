"""Runpod's job API: what is asked below `/v2/{endpoint}`, but for the OpenAI route. `job_routes` knows the paths."""

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from runpod_flash.control_plane.api.access import Access, client_of, principal_of
from runpod_flash.control_plane.api.asked import Asked
from runpod_flash.control_plane.api.bodies import header, json_object
from runpod_flash.control_plane.api.job_body import input_of, policy_of
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.platform import Platform
from runpod_flash.control_plane.principals import Need, Principal
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.rates import Rates, is_rated, queue_refusal
from runpod_flash.control_plane.records import EndpointRecord, JobRecord, Submission
from runpod_flash.control_plane.views import health_object, job_json, metrics_object, request_object, to_json
from worker_runtime.wire.ids import ordered_uuid
from worker_runtime.wire.jobs import JobStatus

WAIT_MS: Final = (1_000, 300_000)
SYNC_WAIT_MS: Final = (1_000, 90_000)
WAIT_DEFAULT_MS: Final = 90_000
REQUESTS_SHOWN: Final = 100

_LOOK: Final = frozenset(["GET", "HEAD"])
_SEND: Final = frozenset(["POST"])

Handler = Callable[[Asked, EndpointRecord], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on an endpoint, or on a job of it (`of_job`). It answers with JSON and status 200."""

    name: str
    need: Need
    handler: Handler
    methods: frozenset[str]
    of_job: bool = False
    of_all: bool = False  # endpoints that answer HTTP requests have it, too


class JobsApi:
    """The operations below `/v2/{endpoint}`."""

    def __init__(
        self,
        platform: Platform,
        access: Access,
        limits: Limits,
        rates: Rates,
        check_webhook: Callable[[str], None],
    ) -> None:
        self._platform = platform
        self._access = access
        self._limits = limits
        self._rates = rates
        self._check_webhook = check_webhook
        both = _LOOK | _SEND
        self.operations: Final = (
            Operation("run", Need.RUN, self._run, _SEND),
            Operation("runsync", Need.RUN, self._runsync, _SEND),
            Operation("status", Need.READ, self._status, both, of_job=True),
            Operation("status-sync", Need.READ, self._status_sync, both, of_job=True),
            Operation("stream", Need.READ, self._stream, both, of_job=True),
            Operation("cancel", Need.RUN, self._cancel, _SEND, of_job=True),
            Operation("retry", Need.RUN, self._retry, _SEND, of_job=True),
            Operation("purge-queue", Need.RUN, self._purge_queue, _SEND),
            Operation("requests", Need.READ, self._requests, _LOOK),
            Operation("health", Need.READ, self._health, _LOOK, of_all=True),
            Operation("metrics", Need.READ, self._metrics, _LOOK, of_all=True),
        )

    async def answer(self, operation: Operation, asked: Asked) -> bytes:
        """The JSON that answers a request. Raises what `problems.response_for` knows, and ClientDisconnect."""
        endpoint, counted = self.enter(operation, asked)
        with counted:
            return await operation.handler(asked, endpoint)

    def enter(self, operation: Operation, asked: Asked) -> tuple[EndpointRecord, AbstractContextManager[None]]:
        """The endpoint of a request that may be made, and what counts it as long as it is answered. Raises as above."""
        endpoint = self._access.endpoint(asked, operation.need, asked.endpoint)
        if endpoint.is_load_balanced and not operation.of_all:
            raise Problem(400, "not allowed for QB API: this endpoint answers HTTP requests and takes no jobs")
        running = len(self._platform.workers(endpoint.id)) if self._limits.per_worker else 0
        return endpoint, self._rates.enter(principal_of(asked), endpoint.id, operation.name, running)

    async def _run(self, asked: Asked, endpoint: EndpointRecord) -> bytes:
        return brief(await self._submit(asked, endpoint, sync=False))

    async def _runsync(self, asked: Asked, endpoint: EndpointRecord) -> bytes:
        wait_ms = wait_of(asked, WAIT_MS, WAIT_DEFAULT_MS)
        record = await self._submit(asked, endpoint, sync=True)
        if not record.status.final:
            record = await self._platform.wait(record.id, wait_ms / 1000)
        return whole(record)

    async def _status(self, asked: Asked, endpoint: EndpointRecord) -> bytes:
        return whole(self._platform.job(endpoint.id, asked.job))

    async def _status_sync(self, asked: Asked, endpoint: EndpointRecord) -> bytes:
        wait_ms = wait_of(asked, SYNC_WAIT_MS, WAIT_DEFAULT_MS)
        record = self._platform.job(endpoint.id, asked.job)
        return whole(record if record.status.final else await self._platform.wait(record.id, wait_ms / 1000))

    async def _stream(self, asked: Asked, endpoint: EndpointRecord) -> bytes:
        hold_ms = wait_of(asked, WAIT_MS, round(self._limits.stream_hold_s * 1000))
        record, chunks, more = await self._platform.stream(endpoint.id, asked.job, hold_ms / 1000)
        status = JobStatus.IN_PROGRESS if more else record.status
        if status is JobStatus.CANCELLED:  # clients that drain a stream until its end do not know this state
            status = JobStatus.FAILED
        return to_json({"status": status, "stream": [{"output": chunk} for chunk in chunks]})

    async def _cancel(self, asked: Asked, endpoint: EndpointRecord) -> bytes:
        return brief(await self._platform.cancel(endpoint.id, asked.job))

    async def _retry(self, asked: Asked, endpoint: EndpointRecord) -> bytes:
        return brief(await self._platform.retry(endpoint.id, asked.job))

    async def _purge_queue(self, asked: Asked, endpoint: EndpointRecord) -> bytes:
        return to_json({"removed": await self._platform.purge(endpoint.id), "status": "completed"})

    async def _requests(self, asked: Asked, endpoint: EndpointRecord) -> bytes:
        now = time.time()
        records = self._platform.requests(endpoint.id, REQUESTS_SHOWN)
        return to_json({"requests": [request_object(record, now) for record in records]})

    async def _health(self, asked: Asked, endpoint: EndpointRecord) -> bytes:
        return to_json(health_object(self._platform.health(endpoint.id)))

    async def _metrics(self, asked: Asked, endpoint: EndpointRecord) -> bytes:
        return to_json(metrics_object(self._platform.health(endpoint.id), self._platform.workers(endpoint.id)))

    async def _submit(self, asked: Asked, endpoint: EndpointRecord, *, sync: bool) -> JobRecord:
        client, key = client_of(asked), header(asked, "Idempotency-Key")
        body = await json_object(asked, self.most_bytes(sync=sync), self._limits.body_s)
        return await self._platform.submit(endpoint.id, self.submission(asked, endpoint, body, client, key, sync=sync))

    def most_bytes(self, *, sync: bool) -> int:
        """The longest body of `/runsync`, or of `/run`."""
        return self._limits.runsync_bytes if sync else self._limits.run_bytes

    def submission(
        self,
        asked: Asked,
        endpoint: EndpointRecord,
        body: Mapping[str, Any],
        client: str | None,
        key: str | None,
        *,
        sync: bool,
    ) -> Submission:
        """The job that a body asks for. Raises Problem: 400, 429."""
        policy = policy_of(body, sync=sync, own=not endpoint.runs_command)
        if policy.webhook is not None:
            self._check_webhook(policy.webhook)
        check_queue(self._platform, self._limits, principal_of(asked), endpoint)
        job_input = input_of(body, may_be_empty=endpoint.has_own_calls)
        job_id = f"sync-{ordered_uuid()}" if sync else f"{ordered_uuid()}-u1"
        return Submission(job_id, job_input, policy, client, key)


def check_queue(platform: Platform, limits: Limits, principal: Principal, endpoint: EndpointRecord) -> None:
    """Raise Problem (429) where too many jobs wait already."""
    if is_rated(limits, principal):
        waiting = platform.queued(endpoint.id)
        refusal = queue_refusal(limits, principal, waiting, int(endpoint.body["workers"]["max"]))
        if refusal is not None:
            raise refusal


def whole(record: JobRecord) -> bytes:
    """The JSON of a job."""
    return job_json(record, time.time())


def brief(record: JobRecord) -> bytes:
    """The JSON that names a job and its state."""
    return to_json({"id": record.id, "status": record.status})


def wait_of(asked: Asked, bounds: tuple[int, int], default: int) -> int:
    """The query parameter `wait` in milliseconds. Raises Problem (400) where it is out of bounds."""
    text = asked.query("wait")
    if text is None:
        return default
    low, high = bounds
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
        raise Problem(400, f"query parameter 'wait' is {text!r:.80}; it must be {low} to {high} ms")
    return int(text)
