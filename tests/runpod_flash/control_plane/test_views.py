"""How records look from outside."""

import json
from dataclasses import replace
from typing import Any

import pytest

from runpod_flash.control_plane.records import EndpointRecord, JobRecord, PlainOutput
from runpod_flash.control_plane.views import endpoint_object, health_object, job_json, job_object, workers_object
from worker_runtime.wire.jobs import JobStatus, Payload

QUEUED = JobRecord("j", "e", {"x": 1}, 1000.0)
RUNNING = replace(QUEUED, status=JobStatus.IN_PROGRESS, started_at=1001.5, worker="w", attempts=1)
DONE = replace(RUNNING, status=JobStatus.COMPLETED, finished_at=1001.75, output={"a": [None]})


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (QUEUED, {"delayTime": 2000, "id": "j", "status": "IN_QUEUE"}),
        (RUNNING, {"delayTime": 1500, "id": "j", "status": "IN_PROGRESS", "workerId": "w"}),
        (
            DONE,
            {
                "delayTime": 1500,
                "executionTime": 250,
                "id": "j",
                "output": {"a": [None]},
                "status": "COMPLETED",
                "workerId": "w",
            },
        ),
        (
            replace(DONE, status=JobStatus.FAILED, output=None, error="ValueError: x", retries=2),
            {
                "delayTime": 1500,
                "error": "ValueError: x",
                "executionTime": 250,
                "id": "j",
                "retries": 2,
                "status": "FAILED",
                "workerId": "w",
            },
        ),
        (
            replace(QUEUED, status=JobStatus.CANCELLED, finished_at=1000.5),
            {"delayTime": 500, "id": "j", "status": "CANCELLED"},
        ),
        (
            replace(QUEUED, created_at=1003.0),
            {"delayTime": 0, "id": "j", "status": "IN_QUEUE"},
        ),  # the clock was set back
    ],
)
def test_job_object(record: JobRecord, expected: dict[str, Any]) -> None:
    shown = job_object(record, 1002.0)
    assert shown == expected
    assert list(shown) == sorted(shown)


@pytest.mark.parametrize(
    "record",
    [
        QUEUED,
        RUNNING,
        DONE,
        replace(DONE, output=None),
        replace(DONE, output=PlainOutput('{"a": "\u00fc"}'), retries=2, worker=None),
        replace(DONE, output=PlainOutput("7"), id='a"b'),
        replace(DONE, output=Payload.inlined(b"x")),
        replace(DONE, status=JobStatus.FAILED, output=None, error="ValueError: x"),
    ],
)
def test_the_text_of_a_job_is_that_of_its_object(record: JobRecord) -> None:
    assert json.loads(job_json(record, 1002.0)) == job_object(record, 1002.0)
    assert list(json.loads(job_json(record, 1002.0))) == list(job_object(record, 1002.0))


def test_health_has_all_keys() -> None:
    assert health_object({"jobs": {"inQueue": 3}}) == {
        "jobs": {"completed": 0, "failed": 0, "inProgress": 0, "inQueue": 3, "retried": 0},
        "workers": {"idle": 0, "initializing": 0, "ready": 0, "running": 0, "throttled": 0, "unhealthy": 0},
    }


def test_endpoint_object() -> None:
    record = EndpointRecord("abc", "/p", "n", {"name": "n", "cpu": [{"id": "cpu3g", "vcpuCount": 4}]}, "h", 2, 0.25)
    shown = endpoint_object(record, "http://host:1/")
    assert shown["cpu"] == [{"id": "cpu3g", "vcpuCount": 4, "memory": 16}]
    assert shown["createdAt"] == "1970-01-01T00:00:00.250Z"
    assert shown["requestUrls"]["status"] == "http://host:1/v2/abc/status/{job_id}"
    assert record.body["cpu"] == [{"id": "cpu3g", "vcpuCount": 4}]


def test_workers_object() -> None:
    record = EndpointRecord("abc", "/p", "n", {}, "h", 2, 0.0)
    shown = workers_object(record, [{"id": "w1", "status": "IDLE"}, {"id": "w2", "status": "IDLE"}])
    assert shown["summary"] == {"running": 0, "idle": 2, "initializing": 0, "throttled": 0, "unhealthy": 0, "total": 2}
    assert shown["endpointVersion"] == 2
