"""What each operation of the job API does, seen by a plain HTTP client."""

import pytest

from tests.conformance.endpoints import FINAL, Deployments, Endpoint, good, refused

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MIB = 1024**2


@pytest.fixture(scope="module")
def parked(deployed: Deployments) -> Endpoint:
    """Its jobs stay in the queue."""
    return deployed.parked("operations")


@pytest.fixture(scope="module")
def sync(deployed: Deployments) -> Endpoint:
    """Its jobs end at once."""
    return deployed.endpoint("sync")


def test_ids(parked: Endpoint) -> None:
    assert parked.run({"prompt": "a"}).endswith("-u1")
    answer = good(parked.post("runsync", json={"input": {"prompt": "a"}}, params={"wait": 1_000}))
    assert answer["id"].startswith("sync-")


def test_a_job_that_waits_shows_nothing_else(parked: Endpoint) -> None:
    job = parked.run({"prompt": "a"})
    seen = parked.status(job)
    assert (seen["id"], seen["status"]) == (job, "IN_QUEUE")
    assert set(seen) <= {"id", "status", "delayTime"}


def test_runsync_answers_when_its_wait_is_over(parked: Endpoint, deployed: Deployments) -> None:
    answer = good(parked.post("runsync", json={"input": {"prompt": "a"}}, params={"wait": 1_000}))
    assert answer["status"] == "IN_QUEUE"
    assert parked.status(answer["id"])["status"] == "IN_QUEUE"
    sleeping = deployed.endpoint("sleeping")
    sleeping.result({"seconds": 0})
    answer = good(sleeping.post("runsync", json={"input": {"seconds": 2.5}}, params={"wait": 1_500}))
    assert answer["status"] == "IN_PROGRESS"
    assert sleeping.ended(answer["id"])["output"]["slept"] == 2.5


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_status_sync_waits_for_the_end(deployed: Deployments, method: str) -> None:
    sleeping = deployed.endpoint("sleeping")
    job = sleeping.run({"seconds": 0.5})
    answer = sleeping.http.request(method, f"/v2/{sleeping.id}/status-sync/{job}", params={"wait": 90_000})
    assert good(answer)["status"] == "COMPLETED"
    assert good(answer)["output"]["slept"] == 0.5


def test_status_sync_answers_when_its_wait_is_over(parked: Endpoint) -> None:
    job = parked.run({"prompt": "a"})
    answer = good(parked.get(f"status-sync/{job}", params={"wait": 1_000}))
    assert (answer["id"], answer["status"]) == (job, "IN_QUEUE")


@pytest.mark.parametrize("path", ["runsync", "status-sync"])
@pytest.mark.parametrize("wait", ["soon", "-5", "1e4"])
def test_a_wait_that_is_none(parked: Endpoint, path: str, wait: str) -> None:
    if path == "runsync":
        answer = parked.post(path, json={"input": {"prompt": "a"}}, params={"wait": wait})
    else:
        answer = parked.get(f"{path}/{parked.run({'prompt': 'a'})}", params={"wait": wait})
    refused(answer, 400)


def test_status_and_stream_by_get_and_post(sync: Endpoint) -> None:
    job = sync.result({"prompt": "a"})["id"]
    assert good(sync.get(f"status/{job}")) == good(sync.post(f"status/{job}"))
    for answer in (sync.get(f"stream/{job}"), sync.post(f"stream/{job}"), sync.post(f"stream/{job}", json={})):
        assert good(answer) == {"status": "COMPLETED", "stream": []}


def test_a_stream_that_has_not_begun(parked: Endpoint) -> None:
    job = parked.run({"prompt": "a"})
    assert good(parked.get(f"stream/{job}", params={"wait": 1_000})) == {"status": "IN_QUEUE", "stream": []}


def test_a_stream_drains(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("generator")
    job = endpoint.result({"count": 3})["id"]
    first, second = (good(endpoint.get(f"stream/{job}")) for _ in range(2))
    assert first == {"status": "COMPLETED", "stream": [{"output": {"number": number}} for number in range(3)]}
    assert second == {"status": "COMPLETED", "stream": []}


def test_a_large_chunk_is_split_or_whole(deployed: Deployments) -> None:
    """A chunk of the stream is no larger than 1 MB; text that is longer comes in several."""
    endpoint = deployed.endpoint("async_generator")
    text = "x" * (2 * MIB)
    job = endpoint.run({"text": text})
    chunks = endpoint.chunks(job)
    assert "".join(chunks) == text
    assert max(len(chunk) for chunk in chunks) <= MIB


def test_cancel(parked: Endpoint, sync: Endpoint) -> None:
    job = parked.run({"prompt": "a"})
    for _ in range(2):
        assert good(parked.post(f"cancel/{job}")) == {"id": job, "status": "CANCELLED"}
    assert parked.status(job)["status"] == "CANCELLED"
    done = sync.result({"prompt": "a"})
    answer = sync.post(f"cancel/{done['id']}")
    assert answer.status_code == 200 or 400 <= answer.status_code < 500
    assert sync.status(done["id"]) == done


def test_retry_of_a_failed_job(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("failing")
    job = endpoint.result({"way": "error"})
    assert good(endpoint.post(f"retry/{job['id']}")) == {"id": job["id"], "status": "IN_QUEUE"}
    again = endpoint.ended(job["id"])
    assert (again["status"], again["error"]) == ("FAILED", job["error"])


def test_retry_of_others_is_refused(parked: Endpoint, sync: Endpoint) -> None:
    job = parked.run({"prompt": "a"})
    refused(parked.post(f"retry/{job}"), 400, 409)
    parked.post(f"cancel/{job}")
    refused(parked.post(f"retry/{job}"), 400, 409)
    done = sync.result({"prompt": "a"})
    refused(sync.post(f"retry/{done['id']}"), 400, 409)
    assert sync.status(done["id"]) == done


def test_purge_takes_what_waits(deployed: Deployments) -> None:
    endpoint = deployed.parked("purge")
    jobs = [endpoint.run({"prompt": str(number)}) for number in range(3)]
    assert endpoint.health()["jobs"]["inQueue"] == 3
    assert good(endpoint.post("purge-queue")) == {"removed": 3, "status": "completed"}
    assert endpoint.health()["jobs"]["inQueue"] == 0
    for job in jobs:
        answer = endpoint.get(f"status/{job}")
        assert answer.status_code == 404 or answer.json()["status"] in FINAL
    assert good(endpoint.post("purge-queue")) == {"removed": 0, "status": "completed"}


def test_purge_leaves_what_runs(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("sleeping")
    running = endpoint.run({"seconds": 2})
    endpoint.begun(running)
    waiting = endpoint.run({"seconds": 0})
    assert good(endpoint.post("purge-queue"))["removed"] == 1
    assert endpoint.ended(running)["status"] == "COMPLETED"
    answer = endpoint.get(f"status/{waiting}")
    assert answer.status_code == 404 or answer.json()["status"] == "CANCELLED"


def test_too_many_requests(deployed: Deployments) -> None:
    """The smallest of the documented limits: two purges in ten seconds."""
    endpoint = deployed.parked("limited")
    answers = [endpoint.post("purge-queue") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    refused(answers[-1], 429)
    assert int(answers[-1].headers["retry-after"]) >= 1
    good(endpoint.get("health"))


def test_health(deployed: Deployments) -> None:
    endpoint = deployed.parked("health")
    endpoint.run({"prompt": "a"})
    assert endpoint.health() == {
        "jobs": {"completed": 0, "failed": 0, "inProgress": 0, "inQueue": 1, "retried": 0},
        "workers": {"idle": 0, "initializing": 0, "ready": 0, "running": 0, "throttled": 0, "unhealthy": 0},
    }


def test_health_counts(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("failing")
    before = endpoint.health()["jobs"]
    endpoint.result({"way": "none"})
    endpoint.result({"way": "error"})
    after = endpoint.health()["jobs"]
    assert after["completed"] == before["completed"] + 1
    assert after["failed"] == before["failed"] + 1
    assert (after["inQueue"], after["inProgress"]) == (0, 0)


def test_requests_and_metrics(deployed: Deployments) -> None:
    endpoint = deployed.parked("listed")
    job = endpoint.run({"prompt": "a"})
    (listed,) = good(endpoint.get("requests"))["requests"]
    assert (listed["id"], listed["status"]) == (job, "IN_QUEUE")
    metrics = good(endpoint.get("metrics"))
    assert metrics["readyWorkers"] == []
    assert metrics["workers"] == endpoint.health()["workers"]
