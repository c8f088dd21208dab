"""`flash jobs list|get|cancel|retry` with a real control plane."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.place import Place
from tests.support.plain_endpoints import plain_endpoint
from tests.support.plane_api import plane_client

NAME = "listed-jobs"


@pytest.fixture(scope="module")
def endpoint(shared_place: Place) -> str:
    return plain_endpoint(shared_place, NAME)


def submitted(client: httpx.Client, endpoint: str, **job_input: object) -> str:
    answer = client.post(f"/v2/{endpoint}/run", json={"input": job_input}).raise_for_status()
    return str(answer.json()["id"])


def ended(client: httpx.Client, endpoint: str, job: str) -> str:
    """The state of a job at its end."""
    return str(client.get(f"/v2/{endpoint}/status-sync/{job}", timeout=60).raise_for_status().json()["status"])


def ids(place: Place, *arguments: str) -> list[str]:
    found = json.loads(place.flash("jobs", "list", "--endpoint", NAME, "--json", *arguments).good().stdout)
    return [job["id"] for job in found["jobs"]]


@pytest.fixture
def jobs(shared_place: Place, endpoint: str, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A job that has failed and fails no more when it is tried again, and one that runs."""
    gate = tmp_path / "gate"
    with plane_client(shared_place) as client:
        failed = submitted(client, endpoint, unless=str(gate))
        assert ended(client, endpoint, failed) == "FAILED"
        held = submitted(client, endpoint, until=str(tmp_path / "never"))
        gate.touch()
        yield failed, held
        client.post(f"/v2/{endpoint}/cancel/{held}")


@pytest.mark.slow
def test_list_and_get(shared_place: Place, endpoint: str, jobs: tuple[str, str]) -> None:
    failed, held = jobs
    assert ids(shared_place)[:2] == [held, failed]
    assert ids(shared_place, "--status", "failed", "--since", "1h", "--limit", "1") == [failed]
    assert shared_place.flash("jobs", "list", "--endpoint", NAME, "--since", "0s").good().stdout == "no jobs\n"
    rows = shared_place.flash("jobs", "list", "--limit", "1").good().stdout.splitlines()
    assert len(rows) == 2
    assert rows[1].split()[:2] == [held, NAME]
    told = shared_place.flash("jobs", "get", failed).good().stdout
    assert "error      ValueError: out of luck\nline 1" in told
    assert "attempts   1" in told
    facts = json.loads(shared_place.flash("jobs", "get", failed, "--json").good().stdout)
    assert (facts["job"]["status"], facts["endpoint"]["id"]) == ("FAILED", endpoint)
    assert facts["createdAt"] <= facts["startedAt"] <= facts["finishedAt"]


@pytest.mark.slow
def test_cancel_and_retry(shared_place: Place, endpoint: str, jobs: tuple[str, str]) -> None:
    failed, held = jobs
    refused = shared_place.flash("jobs", "cancel", failed)
    assert refused.status == 1
    assert f"job {failed} had ended already: FAILED; nothing was cancelled" in refused.stderr
    both = shared_place.flash("jobs", "cancel", "no-such-job", held)
    assert both.status == 1
    assert "no-such-job" in both.stderr
    assert both.stdout == f"job {held} of endpoint {NAME} is cancelled\n"
    assert "was cancelled before" in shared_place.flash("jobs", "cancel", held).good().stdout
    assert "is queued once more" in shared_place.flash("jobs", "retry", failed).good().stdout
    with plane_client(shared_place) as client:
        assert ended(client, endpoint, failed) == "COMPLETED"
    assert '{"echo"' in shared_place.flash("jobs", "get", failed).good().stdout
    again = shared_place.flash("jobs", "retry", failed)
    assert (again.status, again.stdout) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("list", "--status", "compleet"), "did you mean COMPLETED?"),
        (("get", "no-such-job"), "no-such-job"),
        (("cancel", "no-such-job"), "no-such-job"),
        (("retry", "no-such-job"), "no-such-job"),
        (("list", "--endpoint", "no-such-endpoint"), "there is no endpoint 'no-such-endpoint'"),
    ],
)
def test_what_is_wrong_is_told(shared_place: Place, endpoint: str, arguments: tuple[str, ...], words: str) -> None:
    refused = shared_place.flash("jobs", *arguments)
    assert (refused.status, refused.stdout) == (1, "")
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
