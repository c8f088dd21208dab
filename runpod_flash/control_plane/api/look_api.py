"""Looking back: jobs of all endpoints, the newest first, and what workers write, as it comes where that is wanted."""

import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api.access import Access
from runpod_flash.control_plane.api.flash_jobs import lines_of
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.endpoint_logs import Follower
from runpod_flash.control_plane.platform import JobQuery, Platform
from runpod_flash.control_plane.principals import Need
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.views import listed_job
from worker_runtime.wire.jobs import JobStatus

JOBS_AT_ONCE = 1000
"""The most jobs of one page."""

JOBS_SHOWN = 100
"""How many there are where nobody says how many."""

LINES_AT_ONCE = 10_000
"""The most lines of before that are told."""

ENDPOINTS_AT_ONCE = 100
"""Of how many endpoints the jobs can be asked for together."""

BEAT_S = 15.0
"""After so many seconds without a line, an empty one is sent to who follows."""

LATEST_S = 10**11
"""The latest moment that can be asked for, in seconds since the epoch."""

_LAST = 2**63 - 1


class LookApi:
    """Lists of jobs, and lines. What belongs to others is not there."""

    def __init__(self, platform: Platform, catalog: Catalog, allowed: Access, *, beat_s: float = BEAT_S) -> None:
        self._platform = platform
        self._catalog = catalog
        self._access = allowed
        self._beat_s = beat_s

    def routes(self) -> list[BaseRoute]:
        """All routes of this face."""
        return [
            Route("/flash/v1/jobs", self._jobs, methods=["GET"]),
            Route("/flash/v1/jobs/{job}/logs", self._of_job, methods=["GET"]),
            Route("/flash/v1/endpoints/{endpoint}/logs", self._of_endpoint, methods=["GET"]),
        ]

    async def _jobs(self, request: Request) -> Response:
        endpoints = tuple(request.query_params.getlist("endpoint"))
        if len(endpoints) > ENDPOINTS_AT_ONCE:
            raise Problem(
                400, f"query parameter 'endpoint' is there {len(endpoints)} times; {ENDPOINTS_AT_ONCE} at most"
            )
        for endpoint in endpoints:
            self._access.endpoint(request, Need.READ, endpoint)
        query = JobQuery(
            endpoints,
            _statuses(request),
            _seconds(request),
            _whole(request, "limit", 1, JOBS_AT_ONCE, JOBS_SHOWN),
            _whole(request, "after", 1, _LAST, _LAST),
        )
        page, now = self._platform.list_jobs(query, self._access.sees(request)), time.time()
        jobs = [self._listed(record, now) for record in page.records]
        return JSONResponse({"jobs": jobs, "more": page.more})

    def _listed(self, record: JobRecord, now: float) -> dict[str, Any]:
        return listed_job(record, self._catalog.get(record.endpoint), now)

    async def _of_job(self, request: Request) -> Response:
        job_id, sees = request.path_params["job"], self._access.sees(request)

        def lines() -> list[dict[str, Any]]:
            return _wanted(request, lines_of(self._platform.logs(job_id, sees)))

        known = lines()
        if not _flag(request, "follow"):
            return JSONResponse({"lines": known})
        endpoint = str(self._platform.facts(job_id, sees)["endpoint"]["id"])
        follower = self._platform.follow(endpoint, job_id)
        return _stream(self._followed(follower, lines, lambda: self._platform.job(endpoint, job_id).status.final))

    async def _of_endpoint(self, request: Request) -> Response:
        endpoint = self._access.endpoint(request, Need.READ).id

        def lines() -> list[dict[str, Any]]:
            return _wanted(request, lines_of(self._platform.lines(endpoint)))

        known = lines()
        if _flag(request, "follow"):
            return _stream(self._followed(self._platform.follow(endpoint), lines, lambda: False))
        return Response(_ndjson(known), media_type="application/x-ndjson")

    async def _followed(
        self, follower: Follower, lines: Callable[[], list[dict[str, Any]]], has_ended: Callable[[], bool]
    ) -> AsyncIterator[bytes]:
        """The lines of before and then those that come: nothing happens between the two, so none is missed or twice."""
        with follower:
            known, ended = lines(), has_ended()
            yield _ndjson(known) or b"\n"
            while not ended and (written := await follower.take(self._beat_s)) is not None:
                yield _ndjson(lines_of(written)) or b"\n"


def _stream(lines: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(lines, media_type="application/x-ndjson")


def _ndjson(lines: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)


def _wanted(request: Request, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those after `since`, and of them the last `tail`."""
    since, tail = _seconds(request), _whole(request, "tail", 0, LINES_AT_ONCE, LINES_AT_ONCE)
    after = [line for line in lines if not since or line.get("time", 0.0) > since]
    return after[len(after) - tail :] if tail < len(after) else after


def _statuses(request: Request) -> frozenset[JobStatus]:
    given = request.query_params.getlist("status")
    for status in given:
        if status not in list(JobStatus):
            raise Problem(400, f"query parameter 'status' is {status!r:.80}; it must be one of {', '.join(JobStatus)}")
    return frozenset(map(JobStatus, given))


def _seconds(request: Request) -> float:
    """The query parameter `since`, in seconds since the epoch; 0 without. Raises Problem (400)."""
    text = request.query_params.get("since", "0")
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= LATEST_S or not text.isascii() or not text[:1].isdigit():
        raise Problem(400, f"query parameter 'since' is {text!r:.80}; it must be seconds since the epoch")
    return found


def _whole(request: Request, name: str, least: int, most: int, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and least <= int(text) <= most):
        raise Problem(400, f"query parameter '{name}' is {text!r:.80}; it must be a whole number, {least} to {most}")
    return int(text)


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "false")
    if text not in ("true", "false"):
        raise Problem(400, f"query parameter '{name}' is {text!r:.80}; it must be 'true' or 'false'")
    return text == "true"
