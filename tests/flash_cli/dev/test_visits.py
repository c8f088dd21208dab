"""What is said of requests: causes, workers, times, and the ends of jobs that were submitted before."""

import json
from typing import Any

from flash_cli.dev.visits import Ended, Passed, Visits


class Scene:
    """Visits with a clock of their own; keeps what is told."""

    def __init__(self) -> None:
        self.told: list[Ended] = []
        self.now = 100.0
        self.visits = Visits(self.told.append, lambda: self.now)

    def answer(self, number: int, value: Any, status: int = 200) -> Ended:
        self.visits.end(number, Passed(status, "", json.dumps(value).encode()), is_job=True)
        return self.told[-1]


def stage(name: str, stage: str, cause: str = "", detail: str = "") -> dict[str, Any]:
    return {"event": "stage", "name": name, "stage": stage, "cause": cause, "detail": detail}


def test_a_request_says_what_it_waited_for_and_how_long() -> None:
    scene = Scene()
    number, visit = scene.visits.begin("infer", "POST", "/infer/runsync")
    visit.edit_s = 0.25
    scene.visits.hear(stage("infer", "building", detail="2 packages"))
    scene.visits.hear(stage("infer", "starting", "a worker starts"))
    scene.visits.hear(stage("other", "queued", "1 worker busy"))
    scene.visits.hear(stage("infer", "running"))
    scene.now += 1.5
    done = {"id": "j", "status": "COMPLETED", "delayTime": 900, "executionTime": 12, "workerId": "w1"}
    ended = scene.answer(number, done)
    assert ended.waits == ("building the environment (2 packages)", "starting a worker")
    assert (ended.queue_ms, ended.run_ms, ended.worker, ended.total_ms, ended.edit_ms) == (900, 12, "w1", 1500, 250)
    assert ended.good


def test_a_busy_endpoint_is_told_by_what_is_in_front() -> None:
    scene = Scene()
    number, _ = scene.visits.begin("infer", "POST", "/infer/runsync")
    scene.visits.hear(stage("infer", "queued", "2 waiting; behind 1, 1 worker busy"))
    assert scene.answer(number, {"id": "j", "status": "COMPLETED"}).waits == ("behind 1, 1 worker busy",)


def test_the_end_of_a_submitted_job_is_told_later() -> None:
    scene = Scene()
    number, _ = scene.visits.begin("infer", "POST", "/infer/run")
    assert scene.answer(number, {"id": "j1", "status": "IN_QUEUE"}).kind == "request"
    scene.visits.hear(stage("infer", "starting", "a worker starts"))
    error = json.dumps({"error_type": "<class 'ValueError'>", "error_message": "no such\nthing"})
    job = {"id": "j1", "status": "FAILED", "executionTime": 3, "error": error}
    scene.visits.hear({"event": "job", "job": job})
    scene.visits.hear({"event": "job", "job": job})
    ended = scene.told[-1]
    assert len(scene.told) == 2
    assert (ended.kind, ended.job, ended.good, ended.problem) == ("job", "j1", False, "ValueError: no such thing")
    assert ended.waits == ("starting a worker",)


def test_jobs_of_others_are_not_told() -> None:
    scene = Scene()
    scene.visits.hear({"event": "job", "job": {"id": "unknown", "status": "COMPLETED"}})
    assert not scene.told


def test_a_refusal_says_why() -> None:
    scene = Scene()
    number, _ = scene.visits.begin("infer", "POST", "/infer/run")
    ended = scene.answer(number, {"status": 422, "title": "Unprocessable", "detail": "unknown parameter 'y'"}, 422)
    assert ended.problem == "unknown parameter 'y'"
    assert not ended.good


def test_an_answer_that_is_no_job_is_not_looked_into() -> None:
    scene = Scene()
    number, _ = scene.visits.begin("web", "GET", "/web/x")
    scene.visits.end(number, Passed(200, "w2", b'{"error": "not mine", "id": "x"}'))
    assert (scene.told[0].problem, scene.told[0].job, scene.told[0].worker) == ("", "", "w2")
