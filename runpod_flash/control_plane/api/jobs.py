"""Runpod's job API: run, runsync, status, cancel and health of an endpoint."""

import time
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api.bodies import header, json_object
from runpod_flash.control_plane.platform import Platform
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import JobRecord, Policy
from runpod_flash.control_plane.views import health_object, job_object

RUN_LIMIT = 10 * 1024**2
RUNSYNC_LIMIT = 20 * 1024**2
WAIT_MS = (1_000, 300_000)
WAIT_DEFAULT_MS = 90_000
TIMEOUT_LIMIT_MS = 7 * 24 * 3600 * 1000
TTL_LEAST_MS = 10_000


class JobsApi:
    """The routes below `/v2/{endpoint}`."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def routes(self) -> list[BaseRoute]:
        """All routes of this face."""
        return [
            Route("/v2/{endpoint}/run", self._run, methods=["POST"]),
            Route("/v2/{endpoint}/runsync", self._runsync, methods=["POST"]),
            Route("/v2/{endpoint}/status/{job}", self._status, methods=["GET", "POST"]),
            Route("/v2/{endpoint}/cancel/{job}", self._cancel, methods=["POST"]),
            Route("/v2/{endpoint}/health", self._health, methods=["GET"]),
        ]

    async def _run(self, request: Request) -> Response:
        record = await self._submit(request, f"{uuid.uuid4()}-u1", RUN_LIMIT, sync=False)
        return JSONResponse({"id": record.id, "status": str(record.status)})

    async def _runsync(self, request: Request) -> Response:
        wait_ms = _wait_ms(request.query_params.get("wait"))
        record = await self._submit(request, f"sync-{uuid.uuid4()}", RUNSYNC_LIMIT, sync=True)
        if not record.status.final:
            record = await self._platform.wait(record.id, wait_ms / 1000)
        return _job(record)

    async def _status(self, request: Request) -> Response:
        return _job(self._platform.job(request.path_params["endpoint"], request.path_params["job"]))

    async def _cancel(self, request: Request) -> Response:
        record = await self._platform.cancel(request.path_params["endpoint"], request.path_params["job"])
        return JSONResponse({"id": record.id, "status": str(record.status)})

    async def _health(self, request: Request) -> Response:
        return JSONResponse(health_object(self._platform.health(request.path_params["endpoint"])))

    async def _submit(self, request: Request, job_id: str, limit: int, *, sync: bool) -> JobRecord:
        client, key = header(request, "X-Flash-Client"), header(request, "Idempotency-Key")
        body = await json_object(request, limit)
        return await self._platform.submit(
            request.path_params["endpoint"],
            _input(body),
            job_id=job_id,
            client=client,
            key=key,
            policy=_policy(body, sync=sync),
        )


def _job(record: JobRecord) -> Response:
    return JSONResponse(job_object(record, time.time()))


def _input(body: Mapping[str, Any]) -> dict[str, Any]:
    job_input = body.get("input")
    if not isinstance(job_input, dict) or not job_input:
        raise Problem(400, "field 'input' must be an object with at least one key")
    return job_input


def _policy(body: Mapping[str, Any], *, sync: bool) -> Policy:
    """The published `policy`; `queueTimeout`, how long a job may wait for a worker each time, is an extension."""
    policy = body.get("policy")
    if policy is None:
        return Policy(sync=sync)
    if not isinstance(policy, dict):
        raise Problem(400, "field 'policy' must be an object")
    return Policy(
        timeout_ms=_limit(policy, "executionTimeout", 1),
        queue_timeout_ms=_limit(policy, "queueTimeout", 1),
        ttl_ms=_limit(policy, "ttl", TTL_LEAST_MS),
        sync=sync,
    )


def _limit(policy: Mapping[str, Any], name: str, least: int) -> int | None:
    value = policy.get(name)
    if value is None:
        return None
    if type(value) is not int or not least <= value <= TIMEOUT_LIMIT_MS:
        raise Problem(400, f"field 'policy.{name}' is {value!r:.80}; it must be {least} to {TIMEOUT_LIMIT_MS} ms")
    return value


def _wait_ms(text: str | None) -> int:
    if text is None:
        return WAIT_DEFAULT_MS
    low, high = WAIT_MS
    if not (text.isascii() and text.isdigit() and low <= int(text[:10]) <= high and len(text) <= 10):
        raise Problem(400, f"query parameter 'wait' is {text!r:.80}; it must be {low} to {high} ms")
    return int(text)
