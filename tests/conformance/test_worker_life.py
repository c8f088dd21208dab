"""How real workers are started, stopped and lost: cancelling, time limits, deaths, scaling to zero, deleting."""

import json
import signal
from pathlib import Path

import psutil
import pytest

from tests.conformance.endpoints import Deployments, Endpoint, good, refused
from tests.conformance.environments import Clients
from tests.conformance.target import Target
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LOST = "job timed out after 1 retries"


def processes(endpoint: Endpoint) -> list[psutil.Process]:
    """The processes of this machine that were started for an endpoint."""
    return [process for process in psutil.process_iter() if _variable(process, "RUNPOD_ENDPOINT_ID") == endpoint.id]


def _variable(process: psutil.Process, name: str) -> str | None:
    try:
        return process.environ().get(name) if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:  # it ended, or belongs to somebody else
        return None


def kill(endpoint: Endpoint, worker: str) -> None:
    """Kill the processes of a worker as the kernel would."""
    found = [process for process in processes(endpoint) if _variable(process, "RUNPOD_POD_ID") == worker]
    assert found
    for process in found:
        process.send_signal(signal.SIGKILL)


def test_a_cancelled_coroutine_stops_and_its_worker_lives_on(deployed: Deployments, tmp_path: Path) -> None:
    endpoint, started, cancelled = deployed.endpoint("sleeping"), tmp_path / "started", tmp_path / "cancelled"
    job = endpoint.run({"seconds": 60, "started": str(started), "cancelled": str(cancelled)})
    worker = endpoint.begun(job)["workerId"]
    if deployed.target.same_machine:
        wait_until(started.exists, 20, "the handler has begun")
    assert good(endpoint.post(f"cancel/{job}")) == {"id": job, "status": "CANCELLED"}
    assert endpoint.status(job)["status"] == "CANCELLED"
    if deployed.target.same_machine:
        wait_until(cancelled.exists, 20, "the handler is cancelled")
    after = endpoint.result({"seconds": 0})
    assert after["status"] == "COMPLETED"
    assert after["workerId"] == worker
    assert endpoint.status(job)["status"] == "CANCELLED"


def test_cancelling_one_of_two_in_a_worker_leaves_the_other(deployed: Deployments, tmp_path: Path) -> None:
    endpoint = deployed.endpoint("sleeping_side_by_side")
    marks = [tmp_path / name for name in ("a", "b")]
    one, two = (endpoint.run({"seconds": 8, "started": str(mark)}) for mark in marks)
    workers = {endpoint.begun(job)["workerId"] for job in (one, two)}
    assert len(workers) == 1
    if deployed.target.same_machine:
        wait_until(lambda: all(mark.exists() for mark in marks), 20, "both have begun")
    assert good(endpoint.post(f"cancel/{one}"))["status"] == "CANCELLED"
    ended = endpoint.ended(two)
    assert ended["status"] == "COMPLETED"
    assert ended["workerId"] in workers
    assert "retries" not in ended


def test_a_cancelled_blocking_handler_costs_its_worker(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("blocking")
    job = endpoint.run({"seconds": 60})
    worker = endpoint.begun(job)["workerId"]
    assert good(endpoint.post(f"cancel/{job}"))["status"] == "CANCELLED"
    after = endpoint.result({"seconds": 0})
    assert after["status"] == "COMPLETED"
    assert after["workerId"] != worker
    assert endpoint.status(job)["status"] == "CANCELLED"


def test_a_job_that_waits_is_cancelled_and_never_runs(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("sleeping")
    first = endpoint.run({"seconds": 2})
    waiting = endpoint.run({"seconds": 0})
    assert good(endpoint.post(f"cancel/{waiting}"))["status"] == "CANCELLED"
    assert endpoint.ended(first)["status"] == "COMPLETED"
    assert endpoint.result({"seconds": 0})["status"] == "COMPLETED"
    ended = endpoint.status(waiting)
    assert ended["status"] == "CANCELLED"
    assert "workerId" not in ended


def test_time_limits(deployed: Deployments) -> None:
    """The run-time limit ends a job TIMED_OUT, be it a coroutine or blocking; the total life ends it in the queue."""
    parked = deployed.parked("limits")
    short = parked.run({"prompt": "a"}, policy={"ttl": 10_000})
    kept = parked.run({"prompt": "b"})
    endpoints = [deployed.endpoint(name) for name in ("sleeping", "blocking")]
    jobs = [endpoint.run({"seconds": 60}, policy={"executionTimeout": 5_001}) for endpoint in endpoints]
    for endpoint, job in zip(endpoints, jobs, strict=True):
        ended = endpoint.ended(job)
        assert ended["status"] == "TIMED_OUT", ended
        assert ended["executionTime"] >= 5_000
        assert "output" not in ended
        assert endpoint.result({"seconds": 0})["status"] == "COMPLETED"
    wait_until(lambda: _is_over(parked, short), 30, "the life of the job is over")
    assert parked.status(kept)["status"] == "IN_QUEUE"


def _is_over(endpoint: Endpoint, job: str) -> bool:
    """Whether the total life of a job is over: it is TIMED_OUT, or unknown by now."""
    answer = endpoint.get(f"status/{job}")
    return answer.status_code == 404 or answer.json()["status"] == "TIMED_OUT"


def test_a_process_that_exits_each_time_fails_its_job_after_one_retry(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("exiting")
    before = endpoint.health()["jobs"]["retried"]
    job = endpoint.result({"always": True})
    assert (job["status"], job["retries"]) == ("FAILED", 1)
    assert job["error"].startswith(LOST)
    assert "output" not in job
    assert endpoint.health()["jobs"]["retried"] == before + 1


def test_a_process_that_exits_once_costs_one_retry(deployed: Deployments, own: Target, tmp_path: Path) -> None:
    job = deployed.endpoint("exiting").result({"first": str(tmp_path / "was here")})
    assert (job["status"], job["output"], job["retries"]) == ("COMPLETED", "second try", 1)


def test_a_killed_worker(deployed: Deployments, own: Target) -> None:
    """Once: the job runs again, elsewhere. Twice: it has failed."""
    endpoint = deployed.endpoint("sleeping", "killed")
    job = endpoint.run({"seconds": 60})
    first = endpoint.begun(job)["workerId"]
    kill(endpoint, first)
    again = endpoint.when(job, lambda seen: seen.get("workerId") not in (None, first))
    assert (again["status"], again["retries"]) == ("IN_PROGRESS", 1)
    kill(endpoint, again["workerId"])
    ended = endpoint.ended(job)
    assert (ended["status"], ended["retries"]) == ("FAILED", 1)
    assert ended["error"].startswith(LOST)
    after = endpoint.result({"seconds": 0})
    assert after["status"] == "COMPLETED"
    assert after["workerId"] not in (first, again["workerId"])


def test_scale_to_zero_and_up_again(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("sync", "short idle", workers={"min": 0, "max": 1, "idleTimeout": 1})
    first = endpoint.result({"prompt": "a"})
    wait_until(lambda: endpoint.workers() == [], 30, "no worker")
    assert endpoint.health()["workers"]["running"] == 0
    if deployed.target.same_machine:
        wait_until(lambda: processes(endpoint) == [], 10, "no process")
    second = endpoint.result({"prompt": "b"})
    assert (first["status"], second["status"]) == ("COMPLETED", "COMPLETED")
    assert first["workerId"] != second["workerId"]


def test_more_workers_for_jobs_that_wait(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("sleeping", "two", workers={"min": 0, "max": 2, "idleTimeout": 5})
    jobs = [endpoint.run({"seconds": 60}) for _ in range(3)]
    workers = [endpoint.begun(job)["workerId"] for job in jobs[:2]]
    assert workers[0] != workers[1]
    assert endpoint.status(jobs[2])["status"] == "IN_QUEUE"
    assert endpoint.health()["workers"]["running"] == 2
    for job in jobs:
        endpoint.post(f"cancel/{job}")


def test_a_job_of_low_priority_starts_no_worker(deployed: Deployments) -> None:
    """While another endpoint gets its worker, this one gets none; once there is one, the job runs there."""
    endpoint = deployed.endpoint("sync", "low", workers={"min": 0, "max": 1, "idleTimeout": 5})
    low = endpoint.run({"prompt": "low"}, policy={"lowPriority": True})
    other = deployed.endpoint("sync", "in the meantime", workers={"min": 0, "max": 1, "idleTimeout": 1})
    assert other.result({"prompt": "a"})["status"] == "COMPLETED"
    assert endpoint.workers() == []
    assert endpoint.status(low)["status"] == "IN_QUEUE"
    assert endpoint.result({"prompt": "b"})["status"] == "COMPLETED"
    assert endpoint.ended(low)["output"]["said"] == "low"


def test_nothing_is_left_after_delete(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("sleeping", "deleted")
    job = endpoint.run({"seconds": 60})
    endpoint.begun(job)
    endpoint.delete()
    refused(endpoint.get("health"), 404)
    refused(endpoint.get(f"status/{job}"), 404)
    refused(endpoint.post("run", json={"input": {"seconds": 1}}), 404)
    if deployed.target.same_machine:
        wait_until(lambda: processes(endpoint) == [], 20, "no process is left")


def test_the_command_adds_an_endpoint(deployed: Deployments, own: Target, real: Clients) -> None:
    """`flash server add` in the folder of a handler, with the PATH of the caller."""
    if own.place is None:
        pytest.skip("the command speaks to the control plane of this user")
    folder = own.place.project / "shout"
    folder.mkdir()
    folder.joinpath("handler.py").write_text(
        "import runpod\nrunpod.serverless.start({'handler': lambda job: job['input']['text'].upper()})\n"
    )
    command = ["-m", "flash_cli", "server", "add", "--name", "shout", "--command", "python handler.py"]
    own.place.run(command, cwd=folder, env={"PATH": real.path()}).good()
    found = good(deployed.http.get("/v2/serverless"))["endpoints"]
    (endpoint_id,) = [endpoint["id"] for endpoint in found if endpoint["name"] == "shout"]
    endpoint = Endpoint(endpoint_id, deployed.http)
    assert endpoint.result({"text": "quiet"})["output"] == "QUIET"
    endpoint.delete()


def test_variables_of_a_worker(deployed: Deployments, own: Target) -> None:
    endpoint = deployed.endpoint("sync")
    job = endpoint.result({"prompt": "a"})
    found = [process for process in processes(endpoint) if _variable(process, "RUNPOD_POD_ID") == job["workerId"]]
    (env, *_) = [process.environ() for process in found if process.cmdline()[-1:] == ["sync.py"]]
    for name in ("GET_JOB", "POST_OUTPUT", "POST_STREAM", "PING"):
        assert env[f"RUNPOD_WEBHOOK_{name}"].startswith("http")
    assert "/job-take/" in env["RUNPOD_WEBHOOK_GET_JOB"]
    assert env["RUNPOD_AI_API_KEY"]
    assert env["RUNPOD_AI_API_KEY"] != own.key
    assert int(env["RUNPOD_PING_INTERVAL"]) >= 1_000
    assert env["RUNPOD_SKIP_AUTO_SYSTEM_CHECKS"] == "true"
    assert own.key not in json.dumps(env)
