"""Jobs by their own names, of whatever endpoint: ask about many at once, find them by their keys, all facts of one."""

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api import access
from runpod_flash.control_plane.api.access import Access
from runpod_flash.control_plane.api.bodies import flag_field, json_object, text_field, texts_field, whole_field
from runpod_flash.control_plane.platform import Platform
from runpod_flash.control_plane.principals import Need
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.views import job_object

AT_ONCE = 1000
"""The most ids or keys of one request."""

ANSWER_LIMIT = 8 * 1024**2
"""About how many bytes of job objects are sent in one answer."""

STREAM_WAIT_MS = 30_000
"""The longest that a question for the items of a stream may be held, in milliseconds."""

_LAST = 2**63 - 1
_LINE = ("time", "job", "worker", "attempt", "stream", "line")
_BODY_LIMIT = 4 * 1024**2


class FlashJobsApi:
    """The routes below `/flash/v1/jobs`, but for the logs. Jobs of endpoints that the asker does not see are unknown.

    To watch a job takes its announcements over from whoever had them before, so it needs a key that may run jobs.
    """

    def __init__(self, platform: Platform, allowed: Access, *, answer_limit: int = ANSWER_LIMIT) -> None:
        self._platform = platform
        self._access = allowed
        self._answer_limit = answer_limit

    def routes(self) -> list[BaseRoute]:
        """All routes of this face."""
        return [
            Route("/flash/v1/jobs/watch", self._watch, methods=["POST"]),
            Route("/flash/v1/jobs/find", self._find, methods=["POST"]),
            Route("/flash/v1/jobs/{job}", self._facts, methods=["GET"]),
            Route("/flash/v1/jobs/{job}/stream", self._stream, methods=["POST"]),
        ]

    async def _watch(self, request: Request) -> Response:
        self._access.check(access.principal_of(request), Need.RUN)
        body = await json_object(request, _BODY_LIMIT)
        client, asked = text_field(body, "client"), texts_field(body, "jobs", AT_ONCE)
        sees, lines = self._access.sees(request), flag_field(body, "lines")
        watched = self._platform.watch(access.stream_of(request, client), asked, sees)
        jobs = _objects(watched.final, self._answer_limit)
        answered = {*jobs, *watched.waiting, *watched.unknown}
        rest: dict[str, Any] = {
            "waiting": list(watched.waiting),
            "unknown": list(watched.unknown),
            "rest": [job_id for job_id in asked if job_id not in answered],
        }
        if lines and asked[0] not in watched.unknown:  # in the same turn, so that none is missed or told twice
            rest["lines"] = lines_of(self._platform.logs(asked[0], sees))
        body_text = b'{"jobs":[%s],%s' % (b",".join(jobs.values()), _json(rest)[1:])
        return Response(body_text, media_type="application/json")

    async def _find(self, request: Request) -> Response:
        keys = texts_field(await json_object(request, _BODY_LIMIT), "keys", AT_ONCE)
        found = self._platform.submitted(keys, self._access.sees(request))
        return JSONResponse({"jobs": {key: _summary(record) for key, record in found.items()}})

    async def _facts(self, request: Request) -> Response:
        facts = self._platform.facts(request.path_params["job"], self._access.sees(request))
        return JSONResponse(dict(facts))

    async def _stream(self, request: Request) -> Response:
        body = await json_object(request, _BODY_LIMIT)
        after, wait_ms = whole_field(body, "after", 0, _LAST), whole_field(body, "wait", 0, STREAM_WAIT_MS)
        sees = self._access.sees(request)
        record, pieces, more = await self._platform.items(request.path_params["job"], after, wait_ms / 1000, sees)
        found = {"items": [list(piece) for piece in pieces], "ended": record.status.final and not more}
        return Response(_json(found), media_type="application/json")


def lines_of(logs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a job or an endpoint wrote, as JSON; what is not known of a line is left out."""
    return [{name: line[name] for name in _LINE if name in line} for line in logs]


def _objects(records: Iterable[JobRecord], limit: int) -> dict[str, bytes]:
    """The JSON of the first jobs, by id: at least one, and no more once they have `limit` bytes."""
    now, size, objects = time.time(), 0, dict[str, bytes]()
    for record in records:
        objects[record.id] = _json(job_object(record, now))
        size += len(objects[record.id])
        if size >= limit:
            break
    return objects


def _summary(record: JobRecord) -> dict[str, str]:
    return {"id": record.id, "endpoint": record.endpoint, "status": str(record.status)}


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
