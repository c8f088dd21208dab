"""Unmodified handler files with the real `runpod` package as workers, end to end through the job API."""

import json
from pathlib import Path

import pytest

from tests.conformance.endpoints import Deployments, good

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_function(deployed: Deployments) -> None:
    job = deployed.endpoint("sync").result({"prompt": "a coffee cup"})
    assert job["status"] == "COMPLETED"
    assert job["output"] == {"said": "a coffee cup", "upper": "A COFFEE CUP"}
    assert job["delayTime"] >= 0
    assert job["executionTime"] >= 0
    assert job["workerId"]
    assert not {"error", "retries", "stream", "input", "webhook"} & set(job)


def test_a_coroutine(deployed: Deployments) -> None:
    answer = good(deployed.endpoint("async_handler").post("runsync", json={"input": {"name": "Ada"}}))
    assert answer["status"] == "COMPLETED"
    assert answer["output"] == "Hello, Ada!"


def test_values_of_any_kind_arrive_as_they_are(deployed: Deployments) -> None:
    text = 'ü – 漢字 \U0001f9ea \\ " \u0000 line\nline'
    assert deployed.endpoint("sync").result({"prompt": text})["output"]["said"] == text


def test_a_generator(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("generator")
    job = endpoint.run({"count": 30})
    assert endpoint.chunks(job) == [{"number": number} for number in range(30)]
    ended = endpoint.status(job)
    assert ended["status"] == "COMPLETED"
    assert ended.get("output", []) == []


def test_chunks_come_while_it_runs(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("generator")
    job = endpoint.run({"count": 4, "pause": 0.7})
    early: list[int] = []
    while not early:
        answer = good(endpoint.get(f"stream/{job}"))
        assert answer["status"] in ("IN_QUEUE", "IN_PROGRESS")
        early = [item["output"]["number"] for item in answer["stream"]]
    assert early == list(range(len(early)))
    assert len(early) < 4
    assert [chunk["number"] for chunk in endpoint.chunks(job)] == list(range(len(early), 4))


def test_an_asynchronous_generator(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("async_generator")
    job = endpoint.run({"text": "one two three"})
    assert endpoint.chunks(job) == ["one", "two", "three"]


def test_an_aggregated_stream(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("aggregate")
    answer = good(endpoint.post("runsync", json={"input": {"count": 4}}))
    assert answer["output"] == [0, 1, 4, 9]
    assert endpoint.chunks(answer["id"]) == [0, 1, 4, 9]


@pytest.mark.parametrize(
    ("way", "said"), [("fail", "handler: out of numbers"), ("error", "no more numbers")], ids=["raises", "yields error"]
)
def test_a_generator_that_fails(deployed: Deployments, way: str, said: str) -> None:
    endpoint = deployed.endpoint("generator")
    job = endpoint.run({"count": 2, way: True})
    assert endpoint.chunks(job)[:2] == [{"number": 0}, {"number": 1}]
    ended = endpoint.ended(job)
    assert ended["status"] == "FAILED"
    assert said in ended["error"]


def test_four_jobs_meet_in_one_worker(deployed: Deployments) -> None:
    """Each job ends only when all four are in the handler at once."""
    endpoint = deployed.endpoint("side_by_side")
    jobs = [endpoint.run({"meet": 4}) for _ in range(4)]
    outputs = [endpoint.ended(job)["output"] for job in jobs]
    assert len({output["process"] for output in outputs}) == 1
    assert max(output["present"] for output in outputs) == 4


def test_progress(deployed: Deployments, tmp_path: Path) -> None:
    endpoint = deployed.endpoint("progress")
    job = endpoint.run({"steps": 1, "until": str(tmp_path / "go on")})
    seen = endpoint.when(job, lambda seen: "output" in seen)
    assert seen["status"] == "IN_PROGRESS"
    assert seen["output"] == "step 1"
    (tmp_path / "go on").touch()
    assert endpoint.ended(job)["output"] == "all steps done"


def test_progress_after_the_end_is_ignored(deployed: Deployments, tmp_path: Path) -> None:
    """Progress is sent from threads of its own, so some of it may come late."""
    (tmp_path / "go on").touch()
    endpoint = deployed.endpoint("progress")
    jobs = [endpoint.run({"steps": 5, "until": str(tmp_path / "go on")}) for _ in range(3)]
    assert [endpoint.ended(job)["output"] for job in jobs] == ["all steps done"] * 3
    assert [endpoint.status(job)["status"] for job in jobs] == ["COMPLETED"] * 3


def test_a_returned_key_asks_for_a_new_worker(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("refresh_key")
    kept, last, new = (endpoint.result({"refresh": refresh}) for refresh in (False, True, False))
    assert [job["status"] for job in (kept, last, new)] == ["COMPLETED"] * 3
    assert kept["workerId"] == last["workerId"]
    assert new["workerId"] != last["workerId"]
    assert new["output"]["process"] != last["output"]["process"]
    assert "refresh_worker" not in last["output"]


def test_each_job_gets_a_new_worker(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("refresh_config")
    first, second = (endpoint.result({"job": number}) for number in (1, 2))
    assert [job["status"] for job in (first, second)] == ["COMPLETED"] * 2
    assert first["workerId"] != second["workerId"]
    assert first["output"] != second["output"]


def test_an_exception(deployed: Deployments) -> None:
    job = deployed.endpoint("failing").result({"way": "raise"})
    assert job["status"] == "FAILED"
    assert "output" not in job
    assert "retries" not in job
    error = json.loads(job["error"])
    assert error["error_type"] == "<class 'ValueError'>"
    assert error["error_message"] == "the model is missing"
    assert 'raise ValueError("the model is missing")' in error["error_traceback"]
    assert error["worker_id"] == job["workerId"]
    assert error["runpod_version"] == "1.12.0"
    assert error["hostname"] != "unknown"


def test_a_returned_error(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("failing")
    job = endpoint.result({"way": "error"})
    assert (job["status"], job["error"]) == ("FAILED", "prompt is too long")
    assert "output" not in job
    job = endpoint.result({"way": "error and output"})
    assert (job["status"], job["error"]) == ("FAILED", "only half of it")


def test_nothing_returned(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("failing")
    job = endpoint.result({"way": "empty"})
    assert job["status"] == "COMPLETED"
    assert "output" not in job
    job = endpoint.result({"way": "none"})
    assert job["status"] == "COMPLETED"
    assert job.get("output") is None


def test_what_the_handler_is_handed(deployed: Deployments) -> None:
    endpoint = deployed.endpoint("echo_job")
    job = endpoint.run({"a": 1}, policy={"executionTimeout": 60_000})
    output = endpoint.ended(job)["output"]
    assert output["job"]["id"] == job
    assert output["job"]["input"] == {"a": 1}
    assert output["endpoint"] == endpoint.id
    assert output["worker"] == endpoint.status(job)["workerId"]


def test_storage_reaches_the_handler_and_nobody_else(deployed: Deployments) -> None:
    endpoint, secret = deployed.endpoint("echo_job"), "wonderfully-secret-word"
    storage = {"accessId": "id", "bucketName": "bucket", "endpointUrl": "https://storage.invalid"}
    answer = endpoint.post("run", json={"input": {"a": 1}, "s3Config": {**storage, "accessSecret": secret}})
    job = good(answer)["id"]
    ended = endpoint.ended(job)
    assert ended["output"]["job"]["id"] == job
    assert ended["output"]["job"]["storage"] == {**storage, "accessSecret": len(secret)}
    replies = [answer.text, json.dumps(ended), endpoint.get(f"stream/{job}").text, endpoint.get("requests").text]
    assert not [reply for reply in replies if secret in reply or "s3Config" in reply]
    place = deployed.target.place
    if place is not None:
        deployed.parked("storage").run({"a": 1}, s3Config={**storage, "accessSecret": secret})
        files = [path for path in place.home.rglob("*") if path.is_file()]
        assert files
        assert [path for path in files if secret.encode() in path.read_bytes()] == []
