"""Runpod's worker protocol: how workers that run a command ask for jobs and answer them. For their own keys only."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api.access import principal_of
from runpod_flash.control_plane.api.bodies import json_object
from runpod_flash.control_plane.api.connected import while_connected
from runpod_flash.control_plane.fleet import Worker
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.problems import Problem

BATCH_LIMIT: Final = 1000
_NOTHING: Final = 204


class Desk(Protocol):
    """Where workers get their jobs (`takes.TakeDesk`)."""

    async def take(self, worker: Worker, number: int, *, busy: bool) -> list[dict[str, Any]]: ...

    async def stops(self, worker: Worker) -> list[str]: ...

    def pinged(self, worker: Worker, jobs: frozenset[str], *, names_jobs: bool) -> None: ...


class Answers(Protocol):
    """Where their answers go (`worker_answers.WorkerAnswers`)."""

    async def done(self, worker: Worker, job_id: str, body: Mapping[str, Any]) -> None: ...

    async def yielded(self, worker: Worker, job_id: str, chunk: Any) -> None: ...

    def unhealthy(self, worker: Worker, reason: str) -> None: ...


class WorkersApi:
    """The routes below `/v2/{endpoint}` that only workers use. `find` gives the worker of an id, if it lives."""

    def __init__(self, desk: Desk, answers: Answers, find: Callable[[str], Worker | None], limits: Limits) -> None:
        self._desk = desk
        self._answers = answers
        self._find = find
        self._limits = limits

    def routes(self) -> list[BaseRoute]:
        """All routes of this face."""
        return [
            self._route("job-take/{worker}", self._take, "GET"),
            self._route("job-take-batch/{worker}", self._take_batch, "GET"),
            self._route("job-stop/{worker}", self._stop, "GET"),
            self._route("job-done/{worker}/{job}", self._done, "POST"),
            self._route("job-stream/{worker}/{job}", self._stream, "POST"),
            self._route("ping/{worker}", self._ping, "GET"),
        ]

    def _route(self, path: str, handler: Callable[[Request, Worker], Awaitable[Response]], method: str) -> Route:
        async def checked(request: Request) -> Response:
            return await handler(request, self._worker(request))

        return Route(f"/v2/{{endpoint}}/{path}", checked, methods=[method])

    def _worker(self, request: Request) -> Worker:
        """The worker that asks. Raises Problem (403): the key is not that worker's."""
        principal, asked = principal_of(request), request.path_params["worker"]
        worker = self._find(asked) if principal.worker == asked else None
        if worker is None or worker.pool.key.endpoint != request.path_params["endpoint"]:
            raise Problem(
                403, "only a worker itself may do this, with the key that it was started with", code="AuthError"
            )
        if worker.pool.code is not None or worker.port:
            raise Problem(403, "this worker does not take its jobs in this way", code="AuthError")
        return worker

    async def _take(self, request: Request, worker: Worker) -> Response:
        jobs = await self._taken(request, worker, 1)
        return JSONResponse(jobs[0]) if jobs else Response(status_code=_NOTHING)

    async def _take_batch(self, request: Request, worker: Worker) -> Response:
        text = request.query_params.get("batch_size", "1")
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= BATCH_LIMIT):
            raise Problem(400, f"query parameter 'batch_size' is {text!r:.80}; it must be 1 to {BATCH_LIMIT}")
        jobs = await self._taken(request, worker, int(text))
        return JSONResponse(jobs) if jobs else Response(status_code=_NOTHING)

    async def _taken(self, request: Request, worker: Worker, number: int) -> list[dict[str, Any]]:
        busy = request.query_params.get("job_in_progress") != "0"
        return await while_connected(request, self._desk.take(worker, number, busy=busy)) or []

    async def _stop(self, request: Request, worker: Worker) -> Response:
        stopping = await while_connected(request, self._desk.stops(worker))
        return JSONResponse({"jobsToStop": stopping}) if stopping else Response(status_code=_NOTHING)

    async def _done(self, request: Request, worker: Worker) -> Response:
        body = await json_object(request, self._limits.runsync_bytes, self._limits.body_s)
        await self._answers.done(worker, request.path_params["job"], body)
        return JSONResponse({})

    async def _stream(self, request: Request, worker: Worker) -> Response:
        body = await json_object(request, self._limits.runsync_bytes, self._limits.body_s)
        if "output" not in body:
            raise Problem(400, "field 'output' is missing")
        await self._answers.yielded(worker, request.path_params["job"], body["output"])
        return JSONResponse({})

    async def _ping(self, request: Request, worker: Worker) -> Response:
        query = request.query_params
        if query.get("status") == "unhealthy":
            self._answers.unhealthy(worker, f"{query.get('check', 'a check')} failed: {query.get('reason', '')}"[:500])
        named = frozenset(filter(None, query.get("job_id", "").split(",")))
        self._desk.pinged(worker, named, names_jobs=_names_jobs(query.get("runpod_version", "")))
        return JSONResponse({})


def _names_jobs(version: str) -> bool:
    """Whether pings of this version of the worker package can be relied on to name all jobs: from 1.10 on."""
    numbers = [int(part) for part in version.split(".")[:2] if part.isdecimal()]
    return numbers >= [1, 10]
