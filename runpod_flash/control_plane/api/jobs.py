"""Runpod's job API: everything below `/v2/{endpoint}` that clients use, but for the OpenAI route."""

import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api.access import Access, client_of, principal_of
from runpod_flash.control_plane.api.bodies import header, json_object
from runpod_flash.control_plane.api.job_body import input_of, policy_of
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.platform import Platform
from runpod_flash.control_plane.principals import Need, Principal
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.rates import Rates, is_rated, queue_refusal
from runpod_flash.control_plane.records import EndpointRecord, JobRecord, Submission
from runpod_flash.control_plane.views import health_object, job_object, metrics_object, request_object
from worker_runtime.wire.jobs import JobStatus

WAIT_MS: Final = (1_000, 300_000)
SYNC_WAIT_MS: Final = (1_000, 90_000)
WAIT_DEFAULT_MS: Final = 90_000
REQUESTS_SHOWN: Final = 100

Handler = Callable[[Request, EndpointRecord], Awaitable[Response]]


class JobsApi:
    """The routes below `/v2/{endpoint}`."""

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

    def routes(self) -> list[BaseRoute]:
        """All routes of this face."""
        both = ["GET", "POST"]
        return [
            self._route("run", Need.RUN, self._run, ["POST"]),
            self._route("runsync", Need.RUN, self._runsync, ["POST"]),
            self._route("status", Need.READ, self._status, both, "/{job}"),
            self._route("status-sync", Need.READ, self._status_sync, both, "/{job}"),
            self._route("stream", Need.READ, self._stream, both, "/{job}"),
            self._route("cancel", Need.RUN, self._cancel, ["POST"], "/{job}"),
            self._route("retry", Need.RUN, self._retry, ["POST"], "/{job}"),
            self._route("purge-queue", Need.RUN, self._purge_queue, ["POST"]),
            self._route("requests", Need.READ, self._requests, ["GET"]),
            self._route("health", Need.READ, self._health, ["GET"]),
            self._route("metrics", Need.READ, self._metrics, ["GET"]),
        ]

    def _route(self, operation: str, need: Need, handler: Handler, methods: list[str], rest: str = "") -> Route:
        for_all = operation in ("health", "metrics")

        async def guarded(request: Request) -> Response:
            endpoint = self._access.endpoint(request, need)
            if endpoint.is_load_balanced and not for_all:
                raise Problem(400, "not allowed for QB API: this endpoint answers HTTP requests and takes no jobs")
            running = len(self._platform.workers(endpoint.id)) if self._limits.per_worker else 0
            with self._rates.enter(principal_of(request), endpoint.id, operation, running):
                return await handler(request, endpoint)

        return Route(f"/v2/{{endpoint}}/{operation}{rest}", guarded, methods=methods)

    async def _run(self, request: Request, endpoint: EndpointRecord) -> Response:
        record = await self._submit(request, endpoint, f"{uuid.uuid4()}-u1", self._limits.run_bytes, sync=False)
        return JSONResponse({"id": record.id, "status": str(record.status)})

    async def _runsync(self, request: Request, endpoint: EndpointRecord) -> Response:
        wait_ms = wait_of(request, WAIT_MS, WAIT_DEFAULT_MS)
        record = await self._submit(request, endpoint, f"sync-{uuid.uuid4()}", self._limits.runsync_bytes, sync=True)
        if not record.status.final:
            record = await self._platform.wait(record.id, wait_ms / 1000)
        return _job(record)

    async def _status(self, request: Request, endpoint: EndpointRecord) -> Response:
        return _job(self._platform.job(endpoint.id, request.path_params["job"]))

    async def _status_sync(self, request: Request, endpoint: EndpointRecord) -> Response:
        wait_ms = wait_of(request, SYNC_WAIT_MS, WAIT_DEFAULT_MS)
        record = self._platform.job(endpoint.id, request.path_params["job"])
        return _job(record if record.status.final else await self._platform.wait(record.id, wait_ms / 1000))

    async def _stream(self, request: Request, endpoint: EndpointRecord) -> Response:
        hold_ms = wait_of(request, WAIT_MS, round(self._limits.stream_hold_s * 1000))
        record, chunks, more = await self._platform.stream(endpoint.id, request.path_params["job"], hold_ms / 1000)
        status = JobStatus.IN_PROGRESS if more else record.status
        if status is JobStatus.CANCELLED:  # clients that drain a stream until its end do not know this state
            status = JobStatus.FAILED
        return JSONResponse({"status": str(status), "stream": [{"output": chunk} for chunk in chunks]})

    async def _cancel(self, request: Request, endpoint: EndpointRecord) -> Response:
        record = await self._platform.cancel(endpoint.id, request.path_params["job"])
        return JSONResponse({"id": record.id, "status": str(record.status)})

    async def _retry(self, request: Request, endpoint: EndpointRecord) -> Response:
        record = await self._platform.retry(endpoint.id, request.path_params["job"])
        return JSONResponse({"id": record.id, "status": str(record.status)})

    async def _purge_queue(self, request: Request, endpoint: EndpointRecord) -> Response:
        return JSONResponse({"removed": await self._platform.purge(endpoint.id), "status": "completed"})

    async def _requests(self, request: Request, endpoint: EndpointRecord) -> Response:
        now = time.time()
        records = self._platform.requests(endpoint.id, REQUESTS_SHOWN)
        return JSONResponse({"requests": [request_object(record, now) for record in records]})

    async def _health(self, request: Request, endpoint: EndpointRecord) -> Response:
        return JSONResponse(health_object(self._platform.health(endpoint.id)))

    async def _metrics(self, request: Request, endpoint: EndpointRecord) -> Response:
        return JSONResponse(metrics_object(self._platform.health(endpoint.id), self._platform.workers(endpoint.id)))

    async def _submit(
        self, request: Request, endpoint: EndpointRecord, job_id: str, limit: int, *, sync: bool
    ) -> JobRecord:
        client, key = client_of(request), header(request, "Idempotency-Key")
        body = await json_object(request, limit, self._limits.body_s)
        policy = policy_of(body, sync=sync, own=not endpoint.runs_command)
        if policy.webhook is not None:
            self._check_webhook(policy.webhook)
        check_queue(self._platform, self._limits, principal_of(request), endpoint)
        job_input = input_of(body, may_be_empty=endpoint.has_own_calls)
        return await self._platform.submit(endpoint.id, Submission(job_id, job_input, policy, client, key))


def check_queue(platform: Platform, limits: Limits, principal: Principal, endpoint: EndpointRecord) -> None:
    """Raise Problem (429) where too many jobs wait already."""
    if is_rated(limits, principal):
        waiting = int(platform.health(endpoint.id)["jobs"]["inQueue"])
        refusal = queue_refusal(limits, principal, waiting, int(endpoint.body["workers"]["max"]))
        if refusal is not None:
            raise refusal


def _job(record: JobRecord) -> Response:
    return JSONResponse(job_object(record, time.time()))


def wait_of(request: Request, bounds: tuple[int, int], default: int) -> int:
    """The query parameter `wait` in milliseconds. Raises Problem (400) where it is out of bounds."""
    text = request.query_params.get("wait")
    if text is None:
        return default
    low, high = bounds
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
        raise Problem(400, f"query parameter 'wait' is {text!r:.80}; it must be {low} to {high} ms")
    return int(text)
