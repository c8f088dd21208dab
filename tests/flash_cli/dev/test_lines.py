"""What the console says."""

import time
from dataclasses import replace

from flash_cli.builds.manifest import BuiltEndpoint
from flash_cli.dev import lines
from flash_cli.dev.state import State
from flash_cli.dev.table import Table
from flash_cli.dev.visits import Ended
from worker_runtime.wire.interface import Interface

NOON = time.mktime((2026, 1, 1, 12, 0, 0, 0, 1, -1))
DONE = Ended(
    "request", "infer", "POST", "/infer/runsync", 200, 950,
    waits=("starting a worker",), job="j", job_status="COMPLETED", worker="w1", queue_ms=900, run_ms=1200,
)  # fmt: skip


def endpoint(name: str, file: str, artifact: str = "1") -> BuiltEndpoint:
    return BuiltEndpoint(
        name, "function", file, name, {"type": "QUEUE"}, artifact=artifact, interface=Interface({"": ()})
    )


def state(*endpoints: BuiltEndpoint, **fields: object) -> State:
    return State(Table.of(endpoints), **fields)  # type: ignore[arg-type]


def test_a_request_is_one_line() -> None:
    line = lines.request_line(DONE, NOON, utf=True)
    assert line == (
        "12:00:00  infer  POST /infer/runsync  waited 900 ms (starting a worker), worker w1, ran 1.2 s  ✓ 200"
    )


def test_a_failure_says_what_failed() -> None:
    failed = replace(DONE, job_status="FAILED", problem="ValueError: no", waits=(), queue_ms=0)
    assert lines.request_line(failed, NOON, utf=False).endswith("worker w1, ran 1.2 s  failed 200: ValueError: no")


def test_what_is_not_known_is_not_said() -> None:
    plain = Ended("request", "web", "GET", "/web/x", 404, 7, worker="w9")
    assert lines.request_line(plain, NOON, utf=False) == "12:00:00  web  GET /web/x  worker w9, took 7 ms  failed 404"


def test_the_end_of_a_job_names_it() -> None:
    ended = replace(DONE, kind="job", edit_ms=0)
    assert "  job j  " in lines.request_line(ended, NOON, utf=True)
    assert lines.request_line(ended, NOON, utf=True).endswith("✓ COMPLETED")


def test_an_edit_is_told_by_what_it_changed() -> None:
    before = state(endpoint("a", "a.py"), endpoint("b", "b.py"))
    now = state(endpoint("a", "a.py", "2"), endpoint("c", "c.py"))
    assert lines.change_lines(before, now, 0.25) == [
        "c: new, live after 250 ms",
        "a: changed, live after 250 ms",
        "b: removed, live after 250 ms",
    ]
    assert lines.change_lines(before, before, 0.25) == []


def test_a_broken_file_is_told_once_and_so_is_its_end() -> None:
    good = state(endpoint("a", "a.py"))
    bad = state(endpoint("a", "a.py"), broken={"a": "a.py cannot be used: line 3"}, files={"a.py": "line 3"})
    assert lines.change_lines(good, bad, 1) == ["a.py cannot be used: line 3 (a: answers 503 until it is mended)"]
    assert lines.change_lines(bad, bad, 1) == []
    assert lines.change_lines(bad, good, 1) == ["a.py is mended", "a: changed, live after 1.0 s"]


def test_a_refused_endpoint_and_a_problem_of_all_are_told_once() -> None:
    good = state(endpoint("a", "a.py"))
    refused = state(endpoint("a", "a.py", "2"), broken={"a": "endpoint 'a' cannot be taken up: no such package"})
    assert lines.change_lines(good, refused, 1) == ["endpoint 'a' cannot be taken up: no such package"]
    assert lines.change_lines(refused, refused, 1) == []
    stuck = replace(good, problem="two endpoints are called 'a'")
    assert lines.change_lines(good, stuck, 1) == ["two endpoints are called 'a'"]
    assert lines.change_lines(stuck, stuck, 1) == []


def test_programs_get_the_same() -> None:
    event = lines.as_event(DONE)
    assert (event["event"], event["waits"], event["jobStatus"]) == ("request", ["starting a worker"], "COMPLETED")
    assert (event["queueMs"], event["runMs"], event["totalMs"], event["editMs"]) == (900, 1200, 950, 0)
