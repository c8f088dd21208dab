"""A load-balanced endpoint whose worker is a plain HTTP server, reached by path and by host."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.conformance.endpoints import Deployments, Endpoint, good, refused
from tests.conformance.target import Target

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WORKER = "X-Runpod-Worker-Id"
MIB = 1024**2


@pytest.fixture(scope="module")
def endpoint(deployed: Deployments) -> Endpoint:
    """An endpoint with one worker at most."""
    scaling = {"type": "REQUEST_COUNT", "requestCount": 4}
    return deployed.endpoint("balanced", type="LOAD_BALANCER", scaling=scaling)


@pytest.fixture(scope="module")
def balanced(endpoint: Endpoint, target: Target) -> Iterator[httpx.Client]:
    """A client of the worker's own paths; its worker is up."""
    base = good(endpoint.http.get(f"/v2/serverless/{endpoint.id}"))["requestUrls"]["base"]
    headers = {"Authorization": f"Bearer {target.key}"}
    with httpx.Client(base_url=base, headers=headers, trust_env=False, timeout=150) as client:
        assert client.get("/ping").json() == {"status": "healthy"}
        yield client


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_request_arrives_as_it_was_sent(balanced: httpx.Client, method: str) -> None:
    body = b"" if method == "GET" else b"hello worker"
    answer = balanced.request(
        method, "/mirror/a/b%20c?x=1&y=%2F&x=2", content=body, headers={"Content-Type": "text/plain"}
    )
    assert answer.status_code == 201
    assert answer.headers[WORKER]
    assert answer.json() == {
        "method": method,
        "path": "a/b c",
        "query": "x=1&y=%2F&x=2",
        "size": len(body),
        "start": body.decode(),
        "type": "text/plain",
    }


def test_by_host(endpoint: Endpoint, target: Target, balanced: httpx.Client) -> None:
    if target.place is None:
        pytest.skip("the domain of the server is not known")
    headers = {"Host": f"{endpoint.id}.localhost", "Authorization": f"Bearer {target.key}"}
    answer = httpx.post(f"{target.url}/mirror/by/host", content=b"x", headers=headers, trust_env=False)
    assert answer.status_code == 201
    assert answer.json()["path"] == "by/host"


def test_a_response_streams(balanced: httpx.Client, tmp_path: Path, own: Target) -> None:
    """The worker ends its response only when the first part has been seen."""
    with balanced.stream("GET", "/words", params={"last": str(tmp_path / "go on")}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "first"
        (tmp_path / "go on").touch()
        assert list(lines) == ["last"]


def test_a_websocket(balanced: httpx.Client, target: Target) -> None:
    url = f"{balanced.base_url}echo".replace("http", "ws", 1)
    with connect(url, additional_headers={"Authorization": f"Bearer {target.key}"}, proxy=None) as socket:
        for text in ("one", "two"):
            socket.send(text)
            assert socket.recv(30) == text.upper()


def test_a_large_body_and_one_too_large(balanced: httpx.Client) -> None:
    assert balanced.post("/mirror/large", content=b"x" * (29 * MIB)).json()["size"] == 29 * MIB
    refused(balanced.post("/mirror/large", content=b"x" * (31 * MIB)), 413)


def test_errors_of_the_worker_pass_through(balanced: httpx.Client) -> None:
    assert balanced.get("/nothing-there").json() == {"detail": "Not Found"}
    answer = balanced.get("/broken")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert answer.headers[WORKER]
    assert balanced.get("/ping").status_code == 200


def test_keys(balanced: httpx.Client) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        refused(httpx.get(f"{balanced.base_url}ping", headers=headers, trust_env=False), 401)


def test_affinity(balanced: httpx.Client) -> None:
    worker = balanced.get("/ping").headers[WORKER]
    for wanted in (worker, f"strict {worker}", ""):
        assert balanced.get("/ping", headers={WORKER: wanted}).headers[WORKER] == worker
    answer = balanced.get("/ping", headers={WORKER: "strict no-such-worker"})
    assert answer.status_code == 404
    assert "affinity_worker_gone" in answer.text


def test_the_other_kind_of_request_is_refused(
    endpoint: Endpoint, deployed: Deployments, balanced: httpx.Client
) -> None:
    answer = endpoint.post("run", json={"input": {"a": 1}})
    assert answer.status_code == 400
    assert "not allowed for QB API" in answer.text
    queued = str(balanced.base_url).replace(endpoint.id, deployed.endpoint("sync").id)
    assert 400 <= endpoint.http.get(f"{queued}ping").status_code < 500


def test_health(endpoint: Endpoint, balanced: httpx.Client) -> None:
    balanced.get("/ping")
    assert endpoint.health()["workers"]["ready"] == 1


def test_many_at_once_share_the_worker(endpoint: Endpoint, balanced: httpx.Client) -> None:
    workers = {balanced.get("/ping").headers[WORKER] for _ in range(20)}
    assert len(workers) == 1
    assert len(endpoint.workers()) == 1
