"""Any platform that speaks Runpod's job and management API over HTTP: ours at a URL or on a unix socket.

Where the platform has `/flash/v1/`, the ends of jobs are announced on the event stream and output and stages come with
them; where it has not, jobs are asked for with growing pauses, calls carry their code and data, and results come inside
jobs.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runpod_flash.backends import uploads
from runpod_flash.backends.apps import HttpApps
from runpod_flash.backends.base import Json
from runpod_flash.backends.clients import Address
from runpod_flash.backends.connection import Connection
from runpod_flash.backends.conversation import Conversation, Ready
from runpod_flash.backends.events import FinalJobs
from runpod_flash.backends.held import Held, Locate, Purpose
from runpod_flash.backends.job_api import FINAL, JobApi, part
from runpod_flash.backends.look import HttpLook
from runpod_flash.backends.lookups import AT_ONCE, Looked, Lookups
from runpod_flash.backends.memory import SharedMemory
from runpod_flash.backends.uploads import Said
from runpod_flash.backends.volumes import HttpVolumes, scope_header
from runpod_flash.calls import AS_USUAL, JobOptions
from runpod_flash.errors import (
    BackendError,
    ConfigError,
    ContentNotFound,
    EndpointNotFound,
    FlashError,
    JobNotFound,
    PayloadTooLarge,
)
from runpod_flash.output import Output, of_program
from runpod_flash.settings import Settings
from runpod_flash.web import WebAnswer, WebRequest
from worker_runtime.wire.jobs import Payload
from worker_runtime.wire.pieces import Part, Pieces

_STAGES = {"IN_QUEUE": "queued", "IN_PROGRESS": "running"}
_ASK_AGAIN_S = 30.0  # jobs whose end should have been announced are looked at this often all the same
_CARRIED_LIMIT = 10 * 1024**2  # bytes of a request's body: what the published API takes
_SILENCE_S = 60.0
_HOLD_MS = 20_000  # for how long a platform may hold the question for the next items of a stream
_POLL_S = (0.05, 2.0)  # first and longest pause between looks at a job whose end nobody announces


async def connect(settings: Settings, project: Path | str) -> "HttpBackend":
    """Open the platform at the URL `settings.target`.

    Names are those of the scope that is given as text, else the platform's own, whatever the project. Only code that
    runs in a worker, and calls other endpoints of its control plane, is on the same machine, and in the project that
    the worker was told, if that has any.

    Raises:
        BackendUnavailable, AuthError, WireMismatch, ConfigError: it cannot be reached, refuses, differs, is no URL.
    """
    _check_url(settings.target)
    source = settings.api_key_from
    said = f"no key was sent: {source} is not set" if settings.api_key is None else f"it was sent the one from {source}"
    way = "set FLASH_API_KEY, or say `flash target use`, with a key that the platform's owner gives"
    hint = f"{said}; {way}"
    address = Address(settings.target, settings.api_key, settings.target, hint)

    async def locate() -> Address:
        return address

    output, here = of_program(settings.logs), settings.same_machine
    scope = project if isinstance(project, str) else settings.project if here else None
    delay = 0.0 if here else 4.0
    backend = HttpBackend(locate, output, shares_machine=here, default_queue_delay=delay, project=scope)
    await backend.open()
    return backend


class HttpBackend(JobApi):
    """See `Backend`. Belongs to the event loop that opens it."""

    def __init__(
        self,
        locate: Locate,
        output: Output,
        *,
        shares_machine: bool,
        default_queue_delay: float,
        project: Path | str | None = None,
        patience_s: float = 0.0,
        memory: SharedMemory | None = None,
        directly: bool = False,
    ) -> None:
        """`project` scopes names, None: they are global. `patience_s`: how long the first connection is tried.

        `memory`: what is shared with the platform. `directly`: calls may go straight to workers, where it lends some.
        """
        self._directly = directly
        self._memory = memory
        self._output = output
        self._shares_machine = shares_machine
        self._default_queue_delay = default_queue_delay
        self._scope = scope_header(str(project or ""))
        self._final_jobs = FinalJobs()
        self._lookups = Lookups(self._watch)
        self._names: dict[str, str] = {}  # of endpoints, by id
        super().__init__(
            Connection(
                locate,
                self._take,
                self._final_jobs.lose,
                patience_s=patience_s,
                on_wait=self._waits,
                converse=self._converse,
            )
        )
        self._volumes = HttpVolumes(self._connection, self._json, self._scope)
        self._apps = HttpApps(self._connection, self._json)
        self._looker = HttpLook(self._connection, self._json)

    @property
    def shares_machine(self) -> bool:
        return self._shares_machine

    @property
    def default_queue_delay(self) -> float:
        return self._default_queue_delay

    @property
    def takes_uploads(self) -> bool:
        return self._connection.streams

    @property
    def serves_routes(self) -> bool:
        return self._connection.streams

    @property
    def takes_pickles(self) -> bool:
        return self._connection.takes_pickles

    @property
    def conversation(self) -> Conversation | None:
        return self._connection.conversation

    @property
    def volumes(self) -> HttpVolumes:
        return self._volumes

    @property
    def apps(self) -> HttpApps:
        return self._apps

    @property
    def look(self) -> HttpLook:
        return self._looker

    async def open(self) -> None:
        """Connect. Raises BackendUnavailable, AuthError, WireMismatch, ConfigError."""
        await self._connection.ready()

    async def address(self) -> Address:
        return await self._connection.address()

    async def find(self, name: str) -> Json | None:
        await self._connection.ready()
        asked = {"name": name} if self._connection.streams else {}  # elsewhere it is not known what that would mean
        listing = await self._json("GET", "/v2/serverless", headers=self._scope, params=asked)
        endpoints = listing.get("endpoints")
        if not isinstance(endpoints, list):
            platform = self._connection.platform
            raise BackendError(f"{platform} lists no endpoints ({str(listing)!r:.80}); is the URL right?")
        found = next((endpoint for endpoint in endpoints if endpoint.get("name") == name), None)
        return None if found is None else self._named(found)

    async def describe(self, endpoint_id: str) -> Json:
        return self._named(await super().describe(endpoint_id))

    async def create(self, body: Json) -> Json:
        with self._output.waiting(str(body.get("name"))):
            return self._named(await self._json("POST", "/v2/serverless", json=body, headers=self._scope, repeat=False))

    async def update(self, endpoint_id: str, body: Json) -> Json:
        path = f"/v2/serverless/{part(endpoint_id)}"
        with self._output.waiting(str(body.get("name"))):
            changed = self._json("PATCH", path, json=body, headers=self._scope, missing=EndpointNotFound)
            return self._named(await changed)

    async def delete(self, endpoint_id: str) -> None:
        with contextlib.suppress(EndpointNotFound):
            path = f"/v2/serverless/{part(endpoint_id)}"
            await self._connection.send("DELETE", path, headers=self._scope, missing=EndpointNotFound)

    async def has_artifact(self, artifact_id: str) -> bool:
        return await self._has(f"/flash/v1/artifacts/{part(artifact_id)}")

    async def put_artifact(self, artifact_id: str, data: bytes) -> None:
        await self._connection.store(f"/flash/v1/artifacts/{part(artifact_id)}", data, ContentNotFound)

    async def upload_artifact(self, artifact_id: str, source: Path, said: Said) -> None:
        await uploads.bring(self._connection, f"/flash/v1/artifacts/{part(artifact_id)}", source, said)

    async def put_value(self, sha256: str, data: bytes) -> None:
        path = f"/flash/v1/values/{part(sha256)}"
        if not await self._has(path):
            await self._connection.store(path, data, ContentNotFound)

    def place(self, pieces: Pieces) -> Payload | None:
        return None if self._memory is None or not self.takes_uploads else self._memory.place(pieces)

    def unsent(self, payload: Payload) -> None:
        if self._memory is not None:
            self._memory.give_back(payload)

    def taken(self, payload: Payload) -> None:
        if self._memory is not None:
            self._memory.taken(payload)

    async def fetch(self, payload: Payload) -> Part:
        if payload.range is None:
            return await self.get_value(payload.sha256 or "")
        found = None if self._memory is None else self._memory.view(payload)
        if found is not None:
            return found
        value, _ = await self._connection.fetch(f"/flash/v1/values/{part(payload.range)}", ContentNotFound)
        return value

    async def get_value(self, sha256: str) -> bytes:
        value, found = await self._connection.fetch(f"/flash/v1/values/{part(sha256)}", ContentNotFound)
        if found != sha256:
            raise BackendError(f"the value {sha256} arrived damaged: its sha256 is {found}; fetch it again")
        return value

    async def submit(self, endpoint_id: str, call_input: Json, key: str, options: JobOptions = AS_USUAL) -> str:
        connection = self._connection
        await connection.ready()
        number = connection.number
        client = {"X-Flash-Client": connection.client_id} if connection.streams else {}
        if not connection.streams:
            _check_size(call_input, connection.platform)
        job = await self._json(
            "POST",
            f"/v2/{part(endpoint_id)}/run",
            json={"input": call_input, **options.to_body()},
            headers={"Idempotency-Key": key, **client},
            missing=EndpointNotFound,
        )
        job_id = str(job.get("id"))
        if connection.streams and connection.is_up and connection.number == number:
            self._final_jobs.cover(job_id)
        return job_id

    async def outcome(self, endpoint_id: str, job_id: str) -> Json:
        name = self._names.get(endpoint_id, endpoint_id)
        with self._output.waiting(name):
            if self._connection.streams:
                self._output.submitted(name)
            return await self._final(endpoint_id, job_id)

    async def request(self, endpoint_id: str, asked: WebRequest) -> WebAnswer:
        await self._connection.ready()
        if not self._connection.streams:
            return await super().request(endpoint_id, asked)
        heard = replace(asked, headers={**asked.headers, "X-Flash-Client": self._connection.client_id})
        name = self._names.get(endpoint_id, endpoint_id)
        with self._output.waiting(name):
            self._output.submitted(name)
            return await super().request(endpoint_id, heard)

    async def retry(self, endpoint_id: str, job_id: str) -> Json:
        self._final_jobs.forget(job_id)
        return await super().retry(endpoint_id, job_id)

    async def chunks(self, endpoint_id: str, job_id: str) -> AsyncGenerator[Any, None]:
        """See `Backend`. With `/flash/v1/` each question says what has arrived, so that it can be asked again."""
        await self._connection.ready()
        ours, name, after = self._connection.streams, self._names.get(endpoint_id, endpoint_id), 0
        async with contextlib.aclosing(super().chunks(endpoint_id, job_id)) as published:
            while ours:
                with self._output.waiting(name):
                    self._output.submitted(name)
                    found = await self._items_after(job_id, after)
                for number, chunk in found.get("items", []):
                    yield chunk
                    after = number
                if found.get("ended") and not found["items"]:
                    return
            async for chunk in published:
                yield chunk

    async def _items_after(self, job_id: str, after: int) -> Json:
        """The numbered chunks after one that has arrived, and whether the job has ended."""
        path = f"/flash/v1/jobs/{part(job_id)}/stream"
        content = json.dumps({"after": after, "wait": _HOLD_MS}).encode()
        held = Held(Purpose.CHUNKS, "POST", path, _SILENCE_S, content, repeat=True, missing=JobNotFound)
        return self._object((await self._connection.hold(held)).content, "POST", path)

    async def logs(self, endpoint_id: str, job_id: str, *, follow: bool = False) -> Sequence[str]:
        await self._connection.ready()
        if not self._connection.streams:
            return []
        if follow:
            asked = {"client": self._connection.client_id, "jobs": [job_id], "lines": True}
            listing = await self._json("POST", "/flash/v1/jobs/watch", json=asked)
            if job_id in listing.get("unknown", ()):
                raise JobNotFound(f"the platform has no job {job_id}; jobs are kept for a limited time after their end")
        else:
            listing = await self._json("GET", f"/flash/v1/jobs/{part(job_id)}/logs", missing=JobNotFound)
        return [str(line.get("line", "")) for line in listing.get("lines", [])]

    async def find_submitted(self, keys: Sequence[str]) -> Mapping[str, Json] | None:
        await self._connection.ready()
        if not self._connection.streams:
            return None
        found: dict[str, Json] = {}
        for start in range(0, len(keys), AT_ONCE):
            asked = {"keys": keys[start : start + AT_ONCE]}
            found |= (await self._json("POST", "/flash/v1/jobs/find", json=asked)).get("jobs", {})
        return found

    async def facts(self, job_id: str) -> Json:
        await self._connection.ready()
        if not self._connection.streams:
            raise BackendError(
                f"{self._connection.platform} knows jobs by their endpoints only; ask with "
                f"Endpoint(name=…).job({job_id!r})"
            )
        facts = await self._json("GET", f"/flash/v1/jobs/{part(job_id)}", missing=JobNotFound)
        self._named(facts.get("endpoint", {}))
        return facts

    async def drop_instance(self, instance_id: str) -> None:
        await self._connection.ready()
        if not self._connection.streams:
            return  # its worker closes it in the end
        try:
            await self._connection.send("DELETE", f"/flash/v1/instances/{part(instance_id)}", missing=ContentNotFound)
        except ContentNotFound:
            return

    async def aclose(self) -> None:
        await self._connection.close()

    async def _final(self, endpoint_id: str, job_id: str) -> Json:
        """Wait for the end of a job as it is announced, or look at the job again and again."""
        (first, longest), pause = _POLL_S, 0.0
        with self._final_jobs.follow(job_id) as follower:
            while True:
                announced = await follower.end(_to_next_look() if self._final_jobs.covers(job_id) else pause)
                job = announced or await self._look(endpoint_id, job_id)
                if job is not None:
                    return job
                pause = min(max(first, pause * 1.5), longest)

    async def _look(self, endpoint_id: str, job_id: str) -> Json | None:
        """The job if it is final. Where there is a stream, its end is announced from then on."""
        await self._connection.ready()
        if self._connection.streams:
            return await self._lookups.look(job_id)
        job = await self.status(endpoint_id, job_id)
        if job.get("status") in FINAL:
            return job
        stage = _STAGES.get(str(job.get("status")))
        if stage is not None:
            self._output.stage({"name": self._names.get(endpoint_id, endpoint_id), "stage": stage})
        return None

    async def _watch(self, job_ids: Sequence[str]) -> Looked:
        connection = self._connection
        await connection.ready()
        number = connection.number
        asked = {"client": connection.client_id, "jobs": job_ids}
        looked = Looked.of(await self._json("POST", "/flash/v1/jobs/watch", json=asked))
        if connection.is_up and connection.number == number:
            for job_id in looked.waiting:
                self._final_jobs.cover(job_id)
        return looked

    def _converse(self, ready: Ready) -> Conversation:
        taken = ready, self._problem, self._take, self._final_jobs, self._output
        conversation = Conversation(
            *taken, lambda: self._connection.platform, directly=self._directly, memory=self._memory
        )
        conversation.unsent, conversation.taken = self.unsent, self.taken
        return conversation

    def _problem(self, problem: Json) -> FlashError:
        """The error that a refusal in frames means."""
        status = int(problem.get("status") or 500)
        return self._connection.refusal(status, json.dumps(problem).encode(), "the call", EndpointNotFound)

    def _take(self, event: Mapping[str, Any]) -> None:
        """An event of the stream; those of a kind that this version does not know are left alone."""
        kind = event.get("event")
        if kind == "job":
            self._final_jobs.arrive(event["job"])
        elif kind == "stage":
            self._output.stage(event)
        elif kind == "progress":
            self._output.progress(event)
        elif kind == "log":
            self._output.log(event)
        elif kind == "notice":
            self._output.notice(event)

    def _waits(self, message: str) -> None:
        self._output.notice({"key": "busy", "message": message})

    def _named(self, endpoint: Json) -> Json:
        self._names[str(endpoint.get("id"))] = str(endpoint.get("name"))
        return endpoint

    async def _has(self, path: str) -> bool:
        try:
            await self._connection.send("HEAD", path, missing=ContentNotFound)
        except ContentNotFound:
            return False
        return True


def _to_next_look() -> float:
    """Seconds until all who wait for announced jobs look at them: at the same moments, so that they ask together."""
    return _ASK_AGAIN_S - asyncio.get_running_loop().time() % _ASK_AGAIN_S


def _check_size(call_input: Json, platform: str) -> None:
    """Raise PayloadTooLarge where a call carries more than a platform with the published API alone takes."""
    size = len(json.dumps({"input": call_input}, separators=(",", ":")))
    if size <= _CARRIED_LIMIT:
        return
    code = len(call_input.get("flash", {}).get("artifact_data", ""))
    raise PayloadTooLarge(
        f"the call has {size} bytes as it travels{f', {code} of them code' if code else ''}, and {platform} takes "
        f"{_CARRIED_LIMIT} bytes: it has the published API alone, where a call carries its code and arguments (as "
        "base64, which adds a third); pass less, or use a platform that has /flash/v1/, which takes any size"
    )


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise ConfigError(
            f"FLASH_TARGET is {url!r}, which is no URL of a control plane; it must be like http://host:port"
        )
