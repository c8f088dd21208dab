"""The published job API, as every platform has it: below `/v2/{endpoint}`, and requests to load-balanced endpoints."""

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from runpod_flash.backends.base import Json
from runpod_flash.backends.connection import Connection
from runpod_flash.backends.held import Held, Purpose
from runpod_flash.calls import JobOptions
from runpod_flash.errors import BackendError, EndpointNotFound, JobNotFound
from runpod_flash.web import WebAnswer, WebRequest
from worker_runtime.wire.jobs import JobStatus

FINAL = {status.value for status in JobStatus if status.final}
WAIT_S = (1.0, 300.0)
"""How long `/runsync` may be asked to wait, in seconds."""

_SLACK_S = 30.0  # what an answer may take beyond the time that the platform holds it
_STREAM_SILENCE_S = 60.0  # the platform holds an empty stream for some 10 s
_WORKER_ID = "x-runpod-worker-id"


class JobApi:
    """Verbs of `Backend` for jobs whose input is any JSON object, and for HTTP requests."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def describe(self, endpoint_id: str) -> Json:
        return await self._json("GET", f"/v2/serverless/{part(endpoint_id)}", missing=EndpointNotFound)

    async def run_sync(self, endpoint_id: str, job_input: Json, key: str, options: JobOptions, wait_s: float) -> Json:
        connection = self._connection
        await connection.ready()
        wait_s = min(max(wait_s, WAIT_S[0]), WAIT_S[1])
        held = Held(
            Purpose.RESULT,
            "POST",
            f"/v2/{part(endpoint_id)}/runsync?wait={round(wait_s * 1000)}",
            wait_s + _SLACK_S,
            json.dumps({"input": job_input, **options.to_body()}).encode(),
            {"Content-Type": "application/json", "Idempotency-Key": key},
            repeat=connection.streams,  # our platforms make one job of one key
            missing=EndpointNotFound,
        )
        return self._object((await connection.hold(held)).content, "POST", held.url)

    async def status(self, endpoint_id: str, job_id: str) -> Json:
        return await self._json("GET", f"/v2/{part(endpoint_id)}/status/{part(job_id)}", missing=JobNotFound)

    async def cancel(self, endpoint_id: str, job_id: str) -> None:
        await self._json("POST", f"/v2/{part(endpoint_id)}/cancel/{part(job_id)}", missing=JobNotFound)

    async def retry(self, endpoint_id: str, job_id: str) -> Json:
        path = f"/v2/{part(endpoint_id)}/retry/{part(job_id)}"
        return await self._json("POST", path, missing=JobNotFound, repeat=False)

    async def chunks(self, endpoint_id: str, job_id: str) -> AsyncGenerator[Any, None]:
        """See `Backend`. A chunk is handed out once, so a connection that breaks meanwhile may have lost some."""
        url = f"/v2/{part(endpoint_id)}/stream/{part(job_id)}"
        held = Held(Purpose.CHUNKS, "GET", url, _STREAM_SILENCE_S, missing=JobNotFound)
        while True:
            answer = self._object((await self._connection.hold(held)).content, "GET", url)
            chunks = answer.get("stream") or []
            for chunk in chunks:
                yield chunk.get("output") if isinstance(chunk, Mapping) else chunk
            if not chunks and answer.get("status") in FINAL:
                return

    async def health(self, endpoint_id: str) -> Json:
        return await self._json("GET", f"/v2/{part(endpoint_id)}/health", missing=EndpointNotFound)

    async def purge(self, endpoint_id: str) -> int:
        path = f"/v2/{part(endpoint_id)}/purge-queue"
        removed = (await self._json("POST", path, missing=EndpointNotFound, repeat=False)).get("removed", 0)
        return removed if isinstance(removed, int) else 0

    async def request(self, endpoint_id: str, asked: WebRequest) -> WebAnswer:
        connection = self._connection
        await connection.ready()
        held = Held(
            Purpose.BALANCED,
            asked.method,
            balanced_url(connection.url, endpoint_id, by_path=connection.streams) + asked.target,
            None,  # whoever asks has a limit for the whole
            asked.body,
            asked.headers,
            repeat=asked.is_safe,
            missing=EndpointNotFound,
            passes=_is_workers_own,
        )
        answer = await connection.hold(held)
        return WebAnswer(answer.status, answer.headers, answer.content)

    async def _json(self, method: str, path: str, **options: Any) -> Json:
        return self._object(await self._connection.send(method, path, **options), method, path)

    def _object(self, body: bytes, method: str, path: str) -> Json:
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            platform = self._connection.platform
            raise BackendError(
                f"{platform} answered {method} {path} with {body[:80]!r}, no JSON object; is the URL right?"
            )
        return answer


def balanced_url(platform_url: str, endpoint_id: str, *, by_path: bool) -> str:
    """Where the requests of a load-balanced endpoint go, without a slash at the end.

    `by_path`: the platform is one of ours for sure. Else it is by host where the platform has a name like Runpod's.
    """
    parts = urlsplit(platform_url)
    if not by_path and (parts.hostname or "").startswith("api."):
        return f"{parts.scheme}://{part(endpoint_id)}.{parts.netloc}"
    return f"{platform_url.rstrip('/')}/lb/{part(endpoint_id)}"


def part(text: str) -> str:
    """A text as one part of a path."""
    return quote(text, safe="")


def _is_workers_own(status: int, headers: Mapping[str, str]) -> bool:
    """Whether a worker has answered, or nobody whose refusal has a meaning of ours."""
    return _WORKER_ID in headers or status not in (401, 403, 404, 413, 429, 503)
