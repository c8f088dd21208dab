"""The real `runpod-sdk` from npm as client: every method."""

from typing import Any

import pytest

from tests.conformance.endpoints import Deployments
from tests.conformance.running import Runner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ENDED = {"started": True, "completed": True}
"""What the client adds to the job object."""


@pytest.fixture(scope="module")
def told(runner: Runner, deployed: Deployments) -> dict[str, Any]:
    """What the methods gave."""
    running = [deployed.endpoint(handler) for handler in ("sync", "generator", "sleeping", "failing")]
    ids = [endpoint.id for endpoint in (*running, deployed.parked("javascript"))]
    return dict(runner.said("runpod_sdk.mjs", *ids))


def test_run_and_status(told: dict[str, Any]) -> None:
    outcome = told["runAndStatus"]
    assert outcome["first"] == {"id": outcome["last"]["id"], "status": "IN_QUEUE"}
    assert outcome["last"].items() >= {**ENDED, "succeeded": True, "status": "COMPLETED"}.items()
    assert outcome["last"]["output"] == {"said": "a", "upper": "A"}


def test_run_sync(told: dict[str, Any]) -> None:
    assert told["runSync"].items() >= {**ENDED, "succeeded": True, "status": "COMPLETED"}.items()
    assert told["runSync"]["output"] == {"said": "b", "upper": "B"}
    assert told["runSync"]["id"].startswith("sync-")
    assert told["runSync"]["executionTime"] >= 0
    assert told["runSync"]["delayTime"] >= 0
    assert told["runSyncWithOtherFields"]["output"] == {"said": "c", "upper": "C"}


def test_run_sync_times_out(told: dict[str, Any]) -> None:
    assert told["runSyncTimesOut"].items() >= {"started": True, "completed": False, "status": "IN_QUEUE"}.items()


def test_status_sync(told: dict[str, Any]) -> None:
    assert told["statusSync"].items() >= {**ENDED, "succeeded": True, "status": "COMPLETED"}.items()
    assert told["statusSync"]["output"]["slept"] == 1


def test_stream(told: dict[str, Any]) -> None:
    assert told["stream"] == [{"output": {"number": number}} for number in range(3)]


def test_cancel(told: dict[str, Any]) -> None:
    outcome = told["cancel"]
    assert outcome["answer"] == {"id": outcome["id"], "status": "CANCELLED"}
    assert outcome["status"].items() >= {**ENDED, "succeeded": False, "status": "CANCELLED"}.items()


def test_a_failed_job(told: dict[str, Any]) -> None:
    assert told["failed"].items() >= {**ENDED, "succeeded": False, "status": "FAILED"}.items()
    assert told["failed"]["error"] == "prompt is too long"
    assert "output" not in told["failed"]


def test_health(told: dict[str, Any]) -> None:
    assert set(told["health"]) == {"jobs", "workers"}


def test_a_wrong_key_is_thrown(told: dict[str, Any]) -> None:
    assert told["wrongKey"]["status"] == 401


def test_purge_queue(told: dict[str, Any]) -> None:
    """The other job there was the one that `runSync` did not wait for."""
    assert told["purgeQueue"] == {"removed": 2, "status": "completed"}
