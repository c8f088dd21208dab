"""The worker's side of the API, spoken by the test in the place of a worker that does nothing by itself."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.endpoints import START_S, Deployments, Endpoint, good, refused
from tests.conformance.target import Target
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass(frozen=True, slots=True)
class Puppet:
    """A worker that the test speaks for, with the variables that it was started with."""

    env: dict[str, str]
    http: httpx.Client

    @property
    def worker(self) -> str:
        return self.env["RUNPOD_POD_ID"]

    def take(self, *, batch: int = 1) -> httpx.Response:
        url = self.env["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", self.worker)
        if batch > 1:
            url = url.replace("/job-take/", "/job-take-batch/") + f"&batch_size={batch}"
        return self.http.get(url + "&job_in_progress=0", headers=self._key())

    def stop(self) -> httpx.Response:
        url = self.env["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", self.worker).replace("/job-take/", "/job-stop/")
        return self.http.get(url, headers=self._key())

    def done(self, job: str, body: Any, *, worker: str | None = None, stream: bool = False) -> httpx.Response:
        """As the real package sends it: JSON under the name of another type."""
        url = self._job_url("POST_OUTPUT", job, worker) + f"&isStream={json.dumps(stream)}"
        headers = {"charset": "utf-8", "Content-Type": "application/x-www-form-urlencoded", **self._key()}
        return self.http.post(url, content=json.dumps(body), headers=headers)

    def stream(self, job: str, chunk: Any) -> httpx.Response:
        url = self._job_url("POST_STREAM", job, None) + "&isStream=false"
        return self.http.post(url, content=json.dumps({"output": chunk}), headers=self._key())

    def ping(self, *jobs: str) -> httpx.Response:
        url = self.env["RUNPOD_WEBHOOK_PING"].replace("$RUNPOD_POD_ID", self.worker)
        params = {"job_id": ",".join(jobs), "runpod_version": "1.12.0"} if jobs else {"runpod_version": "1.12.0"}
        return self.http.get(url, params=params, headers=self._key())

    def _job_url(self, kind: str, job: str, worker: str | None) -> str:
        url = self.env[f"RUNPOD_WEBHOOK_{kind}"].replace("$RUNPOD_POD_ID", worker or self.worker)
        return url.replace("$ID", job)

    def _key(self) -> dict[str, str]:
        return {"Authorization": self.env["RUNPOD_AI_API_KEY"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where workers say that they are there."""
    return tmp_path_factory.mktemp("puppets")


@pytest.fixture(scope="module")
def endpoint(deployed: Deployments, folder: Path) -> Endpoint:
    """An endpoint with two workers that wait for the test."""
    if not deployed.target.same_machine or deployed.target.endpoints:
        pytest.skip("needs workers on this machine")
    workers = {"min": 2, "max": 2, "idleTimeout": 60}
    return deployed.endpoint("puppet", workers=workers, env={"PUPPET_FOLDER": str(folder)})


@pytest.fixture
def puppets(endpoint: Endpoint, folder: Path) -> Iterator[list[Puppet]]:
    """The two workers. What a test leaves in the queue is cancelled."""
    wait_until(lambda: len(list(folder.glob("*.json"))) == 2, START_S, "two workers")
    with httpx.Client(trust_env=False, timeout=100) as client:
        yield [Puppet(json.loads(path.read_text()), client) for path in sorted(folder.glob("*.json"))]
    counts = endpoint.health()["jobs"]
    if counts["inQueue"] or counts["inProgress"]:
        for job in good(endpoint.get("requests"))["requests"]:
            endpoint.post(f"cancel/{job['id']}")


def taken(puppet: Puppet) -> dict[str, Any]:
    """The job that a worker gets."""
    job = good(puppet.take())
    assert {"id", "input"} <= set(job)
    return job


def test_take_ping_done(endpoint: Endpoint, puppets: list[Puppet]) -> None:
    one, _ = puppets
    job = endpoint.run({"n": 1})
    assert taken(one)["id"] == job
    assert one.ping(job).status_code == 200
    seen = endpoint.status(job)
    assert (seen["status"], seen["workerId"]) == ("IN_PROGRESS", one.worker)
    assert one.done(job, {"output": {"n": 2}}).is_success
    ended = endpoint.status(job)
    assert (ended["status"], ended["output"], ended["workerId"]) == ("COMPLETED", {"n": 2}, one.worker)


def test_a_batch(endpoint: Endpoint, puppets: list[Puppet]) -> None:
    one, _ = puppets
    jobs = [endpoint.run({"n": number}) for number in range(3)]
    answer = one.take(batch=2)
    assert answer.status_code == 200
    assert [job["id"] for job in answer.json()] == jobs[:2]
    assert endpoint.status(jobs[2])["status"] == "IN_QUEUE"
    for job in jobs[:2]:
        assert one.done(job, {"output": job}).is_success
        assert endpoint.status(job)["output"] == job


def test_a_result_counts_once(endpoint: Endpoint, puppets: list[Puppet]) -> None:
    one, two = puppets
    job = endpoint.run({"n": 1})
    taken(one)
    assert one.done(job, {"output": "first"}).is_success
    first = endpoint.status(job)
    for late in (
        one.done(job, {"output": "second"}),
        one.done(job, {"error": "second"}),
        one.done(job, {"status": "IN_PROGRESS", "output": "late progress"}),
        one.stream(job, "late chunk"),
        two.done(job, {"output": "of another"}),
    ):
        assert late.status_code < 500
    assert endpoint.status(job) == first
    assert endpoint.chunks(job) == []


def test_a_result_of_another_worker_is_refused(endpoint: Endpoint, puppets: list[Puppet]) -> None:
    one, two = puppets
    job = endpoint.run({"n": 1})
    taken(one)
    two.done(job, {"output": "by two, as two"})
    assert two.done(job, {"output": "by two, as one"}, worker=one.worker).status_code in (401, 403, 404, 409)
    two.stream(job, "by two")
    seen = endpoint.status(job)
    assert (seen["status"], seen["workerId"]) == ("IN_PROGRESS", one.worker)
    assert "output" not in seen
    assert one.done(job, {"output": "by one"}).is_success
    assert endpoint.status(job)["output"] == "by one"


def test_a_result_of_a_cancelled_job_is_ignored(endpoint: Endpoint, puppets: list[Puppet]) -> None:
    one, _ = puppets
    job = endpoint.run({"n": 1})
    taken(one)
    good(endpoint.post(f"cancel/{job}"))
    assert good(one.stop())["jobsToStop"] == [job]
    assert one.done(job, {"output": "too late"}).status_code < 500
    seen = endpoint.status(job)
    assert seen["status"] == "CANCELLED"
    assert "output" not in seen


def test_chunks_and_their_end(endpoint: Endpoint, puppets: list[Puppet]) -> None:
    one, _ = puppets
    job = endpoint.run({"n": 1})
    taken(one)
    for number in range(3):
        assert one.stream(job, number).is_success
    answer = good(endpoint.get(f"stream/{job}"))
    assert answer == {"status": "IN_PROGRESS", "stream": [{"output": number} for number in range(3)]}
    assert one.stream(job, 3).is_success
    assert one.done(job, {"output": []}, stream=True).is_success
    assert endpoint.chunks(job) == [3]
    assert good(endpoint.get(f"stream/{job}")) == {"status": "COMPLETED", "stream": []}


def test_keys_of_workers_are_for_workers(endpoint: Endpoint, puppets: list[Puppet], target: Target) -> None:
    one, _ = puppets
    refused(one.http.get(one.env["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", one.worker), headers={}), 401)
    wrong = {"Authorization": "wrong"}
    refused(one.http.get(one.env["RUNPOD_WEBHOOK_PING"].replace("$RUNPOD_POD_ID", one.worker), headers=wrong), 401)
    assert one.done("no-such-job", {"output": 1}).status_code < 500
    assert one.env["RUNPOD_AI_API_KEY"] != target.key


def test_a_result_that_is_no_json(endpoint: Endpoint, puppets: list[Puppet]) -> None:
    one, _ = puppets
    job = endpoint.run({"n": 1})
    taken(one)
    url = one.env["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", one.worker).replace("$ID", job)
    key = {"Authorization": one.env["RUNPOD_AI_API_KEY"]}
    for body in (b"{no json", b"[1]", b"\xff"):
        refused(one.http.post(url, content=body, headers=key), 400, 422)
    assert endpoint.status(job)["status"] == "IN_PROGRESS"
    assert one.done(job, {}).is_success
    ended = endpoint.status(job)
    assert ended["status"] == "COMPLETED"
    assert "output" not in ended
