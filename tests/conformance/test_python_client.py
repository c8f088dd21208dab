"""The real `runpod` package as client, blocking and asyncio: every method of endpoints and jobs."""

from typing import Any

import pytest

from tests.conformance.endpoints import Deployments
from tests.conformance.running import Runner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NUMBERS = [{"number": 0}, {"number": 1}, {"number": 2}]


def ids(deployed: Deployments, parked: str) -> list[str]:
    """The endpoints that the scripts use, in the order of their arguments."""
    running = [deployed.endpoint(handler) for handler in ("sync", "generator", "sleeping", "failing")]
    return [endpoint.id for endpoint in (*running, deployed.parked(parked))]


@pytest.fixture(scope="module")
def told(runner: Runner, deployed: Deployments) -> dict[str, Any]:
    """What the methods of the blocking client gave."""
    return dict(runner.said("runpod_sync.py", *ids(deployed, "python")))


@pytest.fixture(scope="module")
def told_async(runner: Runner, deployed: Deployments) -> dict[str, Any]:
    """What the methods of the asyncio client gave."""
    return dict(runner.said("runpod_asyncio.py", *ids(deployed, "asyncio")))


def test_run_status_output(told: dict[str, Any]) -> None:
    outcome = told["run_status_output"]
    assert outcome["first"] in ("IN_QUEUE", "IN_PROGRESS", "COMPLETED")
    assert outcome["output"] == {"said": "a", "upper": "A"}
    assert outcome["last"] == "COMPLETED"
    assert outcome["id"].endswith("-u1")


def test_run_with_the_whole_body(told: dict[str, Any]) -> None:
    assert told["run_with_other_fields"] == {"said": "b", "upper": "B"}


def test_run_sync(told: dict[str, Any]) -> None:
    assert told["run_sync"] == {"said": "c", "upper": "C"}


def test_key_of_one_endpoint(told: dict[str, Any], told_async: dict[str, Any]) -> None:
    assert told["key_of_the_endpoint"] == {"said": "d", "upper": "D"}
    assert told_async["key_of_the_endpoint"] == {"said": "b", "upper": "B"}


def test_stream(told: dict[str, Any], told_async: dict[str, Any]) -> None:
    assert told["stream"] == NUMBERS
    assert told_async["stream"] == NUMBERS


def test_stream_of_a_cancelled_job_ends(told: dict[str, Any]) -> None:
    assert told["stream_of_a_cancelled_job"] == []


@pytest.mark.parametrize("which", ["told", "told_async"])
def test_cancel_in_the_queue(request: pytest.FixtureRequest, which: str) -> None:
    outcome = request.getfixturevalue(which)["cancel"]
    assert outcome["answer"] == {"id": outcome["id"], "status": "CANCELLED"}
    assert outcome["status"] == "CANCELLED"
    assert outcome.get("output") is None


@pytest.mark.parametrize("which", ["told", "told_async"])
def test_cancel_while_it_runs(request: pytest.FixtureRequest, which: str) -> None:
    outcome = request.getfixturevalue(which)["cancel_while_it_runs"]
    assert outcome == {"before": "IN_PROGRESS", "answer": "CANCELLED", "status": "CANCELLED"}


@pytest.mark.parametrize("which", ["told", "told_async"])
def test_output_times_out(request: pytest.FixtureRequest, which: str) -> None:
    assert request.getfixturevalue(which)["output_times_out"] == {
        "raised": "TimeoutError",
        "message": "Job timed out.",
    }


@pytest.mark.parametrize("which", ["told", "told_async"])
def test_a_failed_job_has_no_output(request: pytest.FixtureRequest, which: str) -> None:
    assert request.getfixturevalue(which)["failed"] == {"output": None, "status": "FAILED"}


@pytest.mark.parametrize("which", ["told", "told_async"])
def test_health(request: pytest.FixtureRequest, which: str) -> None:
    outcome = request.getfixturevalue(which)["health"]
    assert set(outcome) == {"jobs", "workers"}
    assert all(isinstance(count, int) for part in outcome.values() for count in part.values())


@pytest.mark.parametrize("which", ["told", "told_async"])
def test_purge_queue(request: pytest.FixtureRequest, which: str) -> None:
    """The other jobs there were those that time out on the client's side."""
    assert request.getfixturevalue(which)["purge_queue"] == {"removed": 2, "status": "completed"}


def test_many_at_once(told_async: dict[str, Any]) -> None:
    assert told_async["many_at_once"] == ["p0", "p1", "p2", "p3", "p4"]


def test_a_wrong_key_is_its_own_error(told: dict[str, Any]) -> None:
    assert told["wrong_key"]["raised"] == "RuntimeError"
    assert "401 Unauthorized" in told["wrong_key"]["message"]


def test_an_unknown_endpoint_is_an_http_error(told: dict[str, Any]) -> None:
    assert told["unknown_endpoint"]["raised"] == "HTTPError"
    assert told["unknown_endpoint"]["message"].startswith("404 ")
