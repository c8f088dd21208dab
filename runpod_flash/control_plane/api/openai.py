"""The OpenAI route: an HTTP request becomes a job of a worker that speaks OpenAI's API, its output the response.

The job's input is `{"openai_route", "openai_input"}`. A worker yields texts that are framed as server-sent events when
the request asks for a stream, else one object; it may as well return the object.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api.access import Access, principal_of
from runpod_flash.control_plane.api.bodies import json_object
from runpod_flash.control_plane.api.connected import while_connected
from runpod_flash.control_plane.api.jobs import check_queue
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.platform import Platform
from runpod_flash.control_plane.principals import Need
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.rates import Rates
from runpod_flash.control_plane.records import EndpointRecord, JobRecord, Policy, Submission
from worker_runtime.wire.ids import ordered_uuid
from worker_runtime.wire.jobs import JobStatus

_HOLD_S: Final = 10.0
_STATUS: Final = {
    JobStatus.TIMED_OUT: 504,
    JobStatus.CANCELLED: 409,
    JobStatus.IN_QUEUE: 503,  # the control plane ends
    JobStatus.IN_PROGRESS: 503,
}


class OpenAiApi:
    """The routes below `/v2/{endpoint}/openai`."""

    def __init__(self, platform: Platform, access: Access, limits: Limits, rates: Rates) -> None:
        self._platform = platform
        self._access = access
        self._limits = limits
        self._rates = rates

    def routes(self) -> list[BaseRoute]:
        """All routes of this face."""
        return [Route("/v2/{endpoint}/openai/{path:path}", self._answer, methods=["GET", "POST"])]

    async def _answer(self, request: Request) -> Response:
        endpoint = self._access.endpoint(request, Need.RUN)
        if not endpoint.runs_command or endpoint.is_load_balanced:
            raise Problem(400, "this endpoint's workers do not speak OpenAI's API")
        with self._rates.enter(principal_of(request), endpoint.id, "openai"):
            return await self._answered(request, endpoint)

    async def _answered(self, request: Request, endpoint: EndpointRecord) -> Response:
        job_input: dict[str, Any] = {"openai_route": f"/{request.path_params['path']}"}
        if request.method == "POST":
            body = await json_object(request, self._limits.runsync_bytes, self._limits.body_s)
            job_input["openai_input"] = body
        check_queue(self._platform, self._limits, principal_of(request), endpoint)
        asked = Submission(f"sync-{ordered_uuid()}", job_input, Policy(sync=True))
        record = await self._platform.submit(endpoint.id, asked)
        job = _Pieces(self._platform, endpoint, record)
        if job_input.get("openai_input", {}).get("stream") is True:
            return await self._streamed(request, job)
        return await self._whole(request, job)

    async def _whole(self, request: Request, job: "_Pieces") -> Response:
        collected = await while_connected(request, job.collect())
        if collected is None:
            return await _unheard(job)
        found, record = collected
        if record.status is not JobStatus.COMPLETED:
            return await _failed(job)
        output = _one(found, record.output_json)
        return JSONResponse(output, status_code=_status_of(output))

    async def _streamed(self, request: Request, job: "_Pieces") -> Response:
        """The response begins with the first piece: a failure before that has a status of its own."""
        pieces = job.each()
        found = await while_connected(request, _first(pieces))
        if found is None:
            return await _unheard(job)
        if not found and job.record.status is not JobStatus.COMPLETED:
            return await _failed(job)
        first = found[0] if found else job.record.output_json
        if isinstance(first, Mapping) and "error" in first:
            return JSONResponse(first, status_code=_status_of(first))
        return StreamingResponse(_events(first, pieces, job), media_type="text/event-stream")


class _Pieces:
    """What one job yields, until its end. `record` is the job as it was seen last."""

    def __init__(self, platform: Platform, endpoint: EndpointRecord, record: JobRecord) -> None:
        self._platform = platform
        self._endpoint = endpoint
        self.record = record

    async def each(self) -> AsyncIterator[Any]:
        more = True
        while more or not (self.record.status.final or self._platform.stopping):
            self.record, chunks, more = await self._platform.stream(self._endpoint.id, self.record.id, _HOLD_S)
            for chunk in chunks:
                yield chunk

    async def collect(self) -> tuple[list[Any], JobRecord]:
        """All pieces, and the job at its end."""
        return [piece async for piece in self.each()], self.record

    async def cancel(self) -> None:
        """Nobody wants the answer any more."""
        if not self.record.status.final:
            await self._platform.cancel(self._endpoint.id, self.record.id)


async def _first(pieces: AsyncIterator[Any]) -> list[Any]:
    """The first piece, if there is one."""
    async for piece in pieces:
        return [piece]
    return []


async def _unheard(job: _Pieces) -> Response:
    """The client has left: its job is cancelled, and what is answered nobody hears."""
    await job.cancel()
    return Response(status_code=204)


async def _failed(job: _Pieces) -> Response:
    """The job has failed, or the control plane ends before the job does: nobody could fetch its answer later."""
    response = _failure(job.record)
    await job.cancel()
    return response


async def _events(first: Any, rest: AsyncIterator[Any], job: _Pieces) -> AsyncIterator[str]:
    """The pieces as server-sent events; texts are framed already. Whoever leaves ends the job."""
    try:
        yield _framed(first)
        async for piece in rest:
            yield _framed(piece)
        if job.record.status is not JobStatus.COMPLETED:
            yield _framed(_error(job.record))
    finally:
        await asyncio.shield(job.cancel())


def _framed(piece: Any) -> str:
    return piece if isinstance(piece, str) else f"data: {json.dumps(piece)}\n\n"


def _one(pieces: list[Any], output: Any) -> Any:
    """The object that answers a request without a stream: the only piece, else what the job returned."""
    if not pieces:
        return output[0] if isinstance(output, list) and len(output) == 1 else output
    return pieces[0] if len(pieces) == 1 else pieces


def _status_of(output: Any) -> int:
    """The status of an answer: 200, or that of the error which a worker reports in OpenAI's form."""
    error = output.get("error") if isinstance(output, Mapping) else None
    if not isinstance(error, Mapping):
        return 200
    code = error.get("code")
    return code if isinstance(code, int) and 400 <= code <= 599 else 400


def _failure(record: JobRecord) -> Response:
    return JSONResponse(_error(record), status_code=_STATUS.get(record.status, 500))


def _error(record: JobRecord) -> dict[str, Any]:
    return {"error": {"message": record.error or str(record.status), "type": str(record.status), "code": None}}
