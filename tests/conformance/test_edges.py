"""The edges of the job API: bodies, limits of their size, keys, names that do not exist."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conformance.endpoints import Deployments, Endpoint, good, refused
from tests.conformance.target import Target

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MIB = 1024**2
WEEK_MS = 7 * 24 * 3600 * 1000
NOT_JSON = {
    "nothing": b"",
    "cut off": b"{",
    "single quotes": b"{'input': {}}",
    "null": b"null",
    "list": b"[]",
    "text": b'"input"',
    "number": b"17",
    "no UTF-8": b"\xff\xfe",
    "comments": b'{"input": {"prompt": "a"}, "policy": {"executionTimeout": 900000 // 15 minutes\n}}',
    "NaN": b'{"input": {"a": NaN}}',
    "deep": b"[" * 100_000,
    "two objects": b'{"input": {"a": 1}} {}',
}
OPERATIONS = [
    ("POST", "run"), ("POST", "runsync"), ("GET", "status/j"), ("GET", "status-sync/j"), ("GET", "stream/j"),
    ("POST", "cancel/j"), ("POST", "retry/j"), ("POST", "purge-queue"), ("GET", "health"), ("GET", "requests"),
    ("GET", "metrics"),
]  # fmt: skip
OF_A_JOB = [(method, path[:-1]) for method, path in OPERATIONS if path.endswith("/j")]


@pytest.fixture(scope="module")
def parked(deployed: Deployments) -> Endpoint:
    """Its jobs stay in the queue."""
    return deployed.parked("edges")


@pytest.fixture(scope="module")
def sync(deployed: Deployments) -> Endpoint:
    """Its jobs end at once."""
    return deployed.endpoint("sync")


@pytest.mark.parametrize("operation", ["run", "runsync"])
@pytest.mark.parametrize("what", NOT_JSON)
def test_what_is_no_json_object(parked: Endpoint, operation: str, what: str) -> None:
    answer = parked.post(operation, content=NOT_JSON[what], headers={"Content-Type": "application/json"})
    refused(answer, 400)


@pytest.mark.parametrize("operation", ["run", "runsync"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": "a"},
        {"input": None},
        {"input": {}},
        {"input": "text"},
        {"input": [1]},
        {"input": 1},
        {"input": {"a": 1}, "webhook": 1},
        {"input": {"a": 1}, "webhook": "no address"},
        {"input": {"a": 1}, "webhook": "file:///etc/passwd"},
        {"input": {"a": 1}, "policy": []},
        {"input": {"a": 1}, "policy": {"executionTimeout": "900000"}},
        {"input": {"a": 1}, "policy": {"executionTimeout": True}},
        {"input": {"a": 1}, "policy": {"lowPriority": "yes"}},
        {"input": {"a": 1}, "policy": {"ttl": 10_000.5}},
        {"input": {"a": 1}, "s3Config": "bucket"},
    ],
    ids=json.dumps,
)
def test_wrong_types_and_missing_fields(parked: Endpoint, operation: str, body: dict[str, Any]) -> None:
    answer = parked.post(operation, json=body, params={"wait": 1_000} if operation == "runsync" else {})
    named = "input" if len(body) < 2 else list(body)[1]
    assert named in refused(answer, 400)["detail"]


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        ({"executionTimeout": 4_999}, False),
        ({"executionTimeout": 5_001}, True),
        ({"executionTimeout": WEEK_MS}, True),
        ({"executionTimeout": WEEK_MS + 1}, False),
        ({"ttl": 9_999}, False),
        ({"ttl": 10_000}, True),
        ({"ttl": WEEK_MS}, True),
        ({"ttl": WEEK_MS + 1}, False),
        ({"ttl": -1}, False),
        ({"executionTimeout": 0}, False),
        ({"lowPriority": True}, True),
        ({}, True),
    ],
    ids=json.dumps,
)
def test_bounds_of_the_policy(parked: Endpoint, policy: dict[str, Any], allowed: bool) -> None:
    answer = parked.post("run", json={"input": {"prompt": "a"}, "policy": policy})
    if allowed:
        good(answer)
    else:
        assert next(iter(policy)) in refused(answer, 400)["detail"]


def test_fields_that_nobody_knows_are_taken(parked: Endpoint) -> None:
    good(parked.post("run", json={"input": {"prompt": "a"}, "webhookV2": "https://example.invalid/x", "other": 1}))


def padded(size: int) -> bytes:
    """A good body of so many bytes."""
    body = b'{"input":{"prompt":"%s"}}'
    return body % (b"x" * (size - len(body) + 2))


def in_chunks(body: bytes) -> Iterator[bytes]:
    """The same, so that no length is said beforehand."""
    yield from (body[start : start + MIB] for start in range(0, len(body), MIB))


@pytest.mark.parametrize("in_pieces", [False, True], ids=["with length", "chunked"])
@pytest.mark.parametrize(("operation", "limit_mb"), [("run", 10), ("runsync", 20)])
def test_bodies_over_the_limit(parked: Endpoint, operation: str, limit_mb: int, in_pieces: bool) -> None:
    def answer(size: int) -> httpx.Response:
        content = in_chunks(padded(size)) if in_pieces else padded(size)
        return parked.post(operation, content=content, params={"wait": 1_000} if operation == "runsync" else {})

    refused(answer(limit_mb * MIB + 1), 413)
    good(answer(limit_mb * 1_000_000 - 1_000))


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_key_and_wrong_keys(target: Target, parked: Endpoint, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": ""}, {"Authorization": "wrong"}, {"Authorization": f"Bearer {target.key}x"}):
        answer = httpx.request(method, f"{target.jobs_url}/{parked.id}/{path}", headers=headers, trust_env=False)
        assert refused(answer, 401)["title"] == "Unauthorized"


def test_a_bare_key(target: Target, parked: Endpoint) -> None:
    good(httpx.get(f"{target.jobs_url}/{parked.id}/health", headers={"authorization": target.key}, trust_env=False))


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@pytest.mark.parametrize("endpoint", ["nowhere", "x" * 300, "..%2f..%2fetc", "%00", "a'b"])
def test_an_unknown_endpoint(http: httpx.Client, method: str, path: str, endpoint: str) -> None:
    body = {"json": {"input": {"prompt": "a"}}} if path.startswith("run") else {}
    refused(http.request(method, f"/v2/{endpoint}/{path}", **body), 404)


@pytest.mark.parametrize(("method", "path"), OF_A_JOB)
@pytest.mark.parametrize("job", ["nowhere", "00000000-0000-0000-0000-000000000000-u1", "x" * 300, "%00", "..%2fhealth"])
def test_an_unknown_job(parked: Endpoint, method: str, path: str, job: str) -> None:
    refused(parked.http.request(method, f"/v2/{parked.id}/{path}{job}"), 404)


@pytest.mark.parametrize(("method", "path"), OF_A_JOB)
def test_a_job_of_another_endpoint(parked: Endpoint, sync: Endpoint, method: str, path: str) -> None:
    job = parked.run({"prompt": "a"})
    refused(sync.http.request(method, f"/v2/{sync.id}/{path}{job}"), 404)
    assert parked.status(job)["status"] == "IN_QUEUE"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "run"), ("DELETE", "status/j"), ("PUT", "health"), ("GET", "cancel/j")]
)
def test_a_wrong_method(parked: Endpoint, method: str, path: str) -> None:
    refused(parked.http.request(method, f"/v2/{parked.id}/{path}"), 404, 405)
