"""How records look from outside, as Runpod publishes it. Pure functions."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from runpod_flash.control_plane.records import EndpointRecord, JobRecord, PlainOutput
from runpod_flash.hardware import RAM_GB_PER_VCPU
from runpod_flash.scopes import stage_of
from worker_runtime.wire.jobs import JobStatus

_JOB_COUNTERS = ("completed", "failed", "inProgress", "inQueue", "retried")
_WORKER_COUNTERS = ("idle", "initializing", "ready", "running", "throttled", "unhealthy")
_SUMMARY = ("running", "idle", "initializing", "throttled", "unhealthy")

_quoted: Final = json.encoder.encode_basestring_ascii
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def to_json(value: Any) -> bytes:
    """A view as it goes over the wire. Raises ValueError where there is no JSON of it."""
    return _ENCODER.encode(value).encode()


def job_object(record: JobRecord, now: float) -> dict[str, Any]:
    """The job object. Times are in milliseconds; `delayTime` of a job that has not started yet is its wait so far."""
    job: dict[str, Any] = {
        "delayTime": _milliseconds(record.created_at, record.started_at or record.finished_at or now)
    }
    if record.error is not None:
        job["error"] = record.error
    if record.finished_at is not None and record.started_at is not None:
        job["executionTime"] = _milliseconds(record.started_at, record.finished_at)
    job["id"] = record.id
    if record.output is not None:
        job["output"] = record.output_json
    if record.retries > 0:
        job["retries"] = record.retries
    job["status"] = str(record.status)
    if record.worker is not None:
        job["workerId"] = record.worker
    return job


def job_json(record: JobRecord, now: float) -> bytes:
    """The same as it goes over the wire. Raises ValueError where there is no JSON of it."""
    started, ended = record.started_at, record.finished_at
    if record.status is not JobStatus.COMPLETED or record.error is not None or started is None or ended is None:
        return to_json(job_object(record, now))
    output = "" if record.output is None else f'"output":{_output_text(record)},'
    retries = f'"retries":{record.retries},' if record.retries > 0 else ""
    worker = "" if record.worker is None else f',"workerId":{_quoted(record.worker)}'
    return (
        f'{{"delayTime":{_milliseconds(record.created_at, started)},"executionTime":{_milliseconds(started, ended)},'
        f'"id":{_quoted(record.id)},{output}{retries}"status":"COMPLETED"{worker}}}'
    ).encode()


def _output_text(record: JobRecord) -> str:
    if isinstance(record.output, PlainOutput):
        return record.output.text
    return _ENCODER.encode(record.output_json)


def ended_entry(record: JobRecord, size: int | str) -> str:
    """The end of a job that gave a value of so many bytes, as the JSON that frames have (`wire.calls`).

    `size`: for a value that is elsewhere, the JSON of what describes it.
    """
    started, finished = record.started_at or record.created_at, record.finished_at or record.created_at
    delay, execution = _milliseconds(record.created_at, started), _milliseconds(started, finished)
    key = "null" if record.idempotency_key is None else _quoted(record.idempotency_key)
    worker = "null" if record.worker is None else _quoted(record.worker)
    return f"[{key},{_quoted(record.id)},{size},{worker},{record.retries},{delay},{execution}]"


def health_object(health: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """The health object with all keys."""
    jobs, workers = health.get("jobs", {}), health.get("workers", {})
    return {
        "jobs": {name: jobs.get(name, 0) for name in _JOB_COUNTERS},
        "workers": {name: workers.get(name, 0) for name in _WORKER_COUNTERS},
    }


def request_object(record: JobRecord, now: float) -> dict[str, Any]:
    """A job in the list of an endpoint's requests: the job object without its output, which may be large."""
    return {name: value for name, value in job_object(record, now).items() if name != "output"}


def listed_job(record: JobRecord, endpoint: EndpointRecord, now: float) -> dict[str, Any]:
    """A job in a list of many endpoints': as in that of its endpoint's requests, with that, its times and attempts."""
    return {**request_object(record, now), **about_job(record, endpoint)}


def about_job(record: JobRecord, endpoint: EndpointRecord) -> dict[str, Any]:
    """What the published job object does not have: its endpoint, how often and when it ran."""
    stage = stage_of(endpoint.project)
    belongs = {"app": stage and stage.app, "stage": stage and stage.stage}
    return {
        "endpoint": {"id": endpoint.id, "name": endpoint.name, "project": endpoint.project, **belongs},
        "attempts": record.attempts,
        "createdAt": iso_time(record.created_at),
        "startedAt": None if record.started_at is None else iso_time(record.started_at),
        "finishedAt": None if record.finished_at is None else iso_time(record.finished_at),
    }


def metrics_object(health: Mapping[str, Mapping[str, int]], workers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The ids of the workers that can take a job at once, and the counters of workers."""
    ready = [worker["id"] for worker in workers if worker["status"] == "IDLE"]
    return {"readyWorkers": ready, "workers": health_object(health)["workers"]}


def requests_url(endpoint_id: str, base_url: str, *, balanced: bool) -> str:
    """Where the requests of an endpoint go: `/run` and so on are below it, or the paths of its own HTTP server."""
    return f"{base_url.rstrip('/')}/{'lb' if balanced else 'v2'}/{endpoint_id}"


def endpoint_object(record: EndpointRecord, base_url: str) -> dict[str, Any]:
    """The endpoint object of `/v2/serverless`. `base_url` is where the client reaches this server."""
    url = requests_url(record.id, base_url, balanced=False)
    shown: dict[str, Any] = {"id": record.id, **record.body, "createdAt": iso_time(record.created_at)}
    if "cpu" in shown:
        shown["cpu"] = [{**cpu, "memory": cpu["vcpuCount"] * RAM_GB_PER_VCPU[cpu["id"]]} for cpu in shown["cpu"]]
    if record.is_load_balanced:
        if record.artifact is not None:
            shown["endpointVersion"] = record.generation
        shown["requestUrls"] = {"base": requests_url(record.id, base_url, balanced=True), "health": f"{url}/health"}
        return shown
    of_a_job = {name: f"{url}/{name}/{{job_id}}" for name in ("status", "stream", "cancel", "retry")}
    shown["requestUrls"] = {
        "run": f"{url}/run",
        "runSync": f"{url}/runsync",
        **of_a_job,
        "purgeQueue": f"{url}/purge-queue",
        "health": f"{url}/health",
    }
    return shown


def workers_object(record: EndpointRecord, workers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The workers of an endpoint and how many are in which state."""
    found = Counter(worker["status"].lower() for worker in workers)
    return {
        "workers": [dict(worker) for worker in workers],
        "summary": {**{name: found[name] for name in _SUMMARY}, "total": len(workers)},
        "endpointVersion": record.generation,
    }


def _milliseconds(start: float, end: float) -> int:
    return max(0, round((end - start) * 1000))


def iso_time(seconds: float) -> str:
    """A moment, in seconds since the epoch, as the published API writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
