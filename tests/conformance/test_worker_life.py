"""How real workers are started, stopped and lost: cancelling, time limits, deaths, scaling to zero, deleting."""

import json
import os
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
    endpoint, mark = deployed.endpoint("sleeping"), tmp_path / "cancelled"
    job = endpoint.run({"seconds": 60, "cancelled": str(mark)})
    worker = endpoint.begun(job)["workerId"]
    assert good(endpoint.post(f"cancel/{job}")) == {"id": job, "status": "CANCELLED"}
    assert endpoint.status(job)["status"] == "CANCELLED"
    if deployed.target.same_machine:
        wait_until(lambda: mark.exists() and mark.read_text() == job, 20, "the handler is cancelled")
    after = endpoint.result({"seconds": 0})
    assert after["status"] == "COMPLETED"
    assert after["workerId"] == worker
    assert endpoint.status(job)["status"] == "CANCELLED"


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
    """The run-time limit ends a job TIMED_OUT, be it a coroutine or blocking; the total life takes it away."""
    limit = {"executionTimeout": 5_001}
    parked = deployed.parked("limits")
    forgotten = parked.run({"prompt": "a"}, policy={"ttl": 10_000})
    kept = parked.run({"prompt": "b"})
    jobs = [(deployed.endpoint(name), 0) for name in ("sleeping", "blocking")]
    ids = [endpoint.run({"seconds": 60}, policy=limit) for endpoint, _ in jobs]
    for (endpoint, _), job in zip(jobs, ids, strict=True):
        ended = endpoint.ended(job)
        assert ended["status"] == "TIMED_OUT", ended
        assert ended["executionTime"] >= 5_000
        assert "output" not in ended
        assert endpoint.result({"seconds": 0})["status"] == "COMPLETED"
    wait_until(lambda: parked.get(f"status/{forgotten}").status_code == 404, 30, "the life of the job is over")
    refused(parked.get(f"status/{forgotten}"), 404)
    assert parked.status(kept)["status"] == "IN_QUEUE"


def test_a_process_that_exits_each_time_fails_its_job_after_one_retry(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("exiting")
    before = endpoint.health()["jobs"]["retried"]
    job = endpoint.result({"always": True})
    assert (job["status"], job["error"], job["retries"]) == ("FAILED", LOST, 1)
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
    assert (ended["status"], ended["error"], ended["retries"]) == ("FAILED", LOST, 1)
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
    (env,) = [process.environ() for process in processes(endpoint) if _is_main(process, job["workerId"])]
    for name in ("GET_JOB", "POST_OUTPUT", "POST_STREAM", "PING"):
        assert env[f"RUNPOD_WEBHOOK_{name}"].startswith("http")
    assert "/job-take/" in env["RUNPOD_WEBHOOK_GET_JOB"]
    assert env["RUNPOD_AI_API_KEY"]
    assert env["RUNPOD_AI_API_KEY"] != own.key
    assert int(env["RUNPOD_PING_INTERVAL"]) >= 1_000
    assert env["RUNPOD_SKIP_AUTO_SYSTEM_CHECKS"] == "true"
    assert own.key not in json.dumps(env)


def _is_main(process: psutil.Process, worker: str) -> bool:
    """Whether this is the worker's first process: pings come from a child of it."""
    try:
        return (
            _variable(process, "RUNPOD_POD_ID") == worker
            and "sync.py" in process.cmdline()[-1]
            and os.path.basename(process.cmdline()[0]).startswith("python")
            and _variable(psutil.Process(process.ppid()), "RUNPOD_POD_ID") != worker
        )
    except (psutil.Error, IndexError):
        return False
