"""`flash jobs list|get|cancel|retry` with a real control plane."""

import json
from pathlib import Path

import pytest

from tests.support.place import Place
from tests.support.plain_endpoints import plain_endpoint

NAME = "listed-jobs"


@pytest.fixture(scope="module")
def endpoint(shared_place: Place) -> str:
    return plain_endpoint(shared_place, NAME)


def submitted(place: Place, **job_input: object) -> str:
    return place.flash("call", NAME, "--json", json.dumps(job_input), "--detach").good().stdout.strip()


def listed(place: Place, *arguments: str) -> list[dict[str, object]]:
    found = json.loads(place.flash("jobs", "list", "--endpoint", NAME, "--json", *arguments).good().stdout)
    return list(found["jobs"])


def test_list_get_cancel_and_retry(shared_place: Place, endpoint: str, tmp_path: Path) -> None:
    assert listed(shared_place) == []
    assert shared_place.flash("jobs", "list", "--endpoint", NAME).good().stdout == "no jobs\n"
    gate = tmp_path / "gate"
    failed = submitted(shared_place, unless=str(gate))
    assert shared_place.flash("jobs", "attach", failed).status == 1
    held = submitted(shared_place, until=str(tmp_path / "never"))

    assert [job["id"] for job in listed(shared_place)] == [held, failed]
    assert [job["id"] for job in listed(shared_place, "--status", "failed", "--since", "1h")] == [failed]
    assert listed(shared_place, "--since", "0s") == []
    rows = shared_place.flash("jobs", "list", "--endpoint", NAME, "--limit", "1").good().stdout.splitlines()
    assert len(rows) == 2
    assert rows[1].split()[:2] == [held, NAME]

    told = shared_place.flash("jobs", "get", failed).good().stdout
    assert "error      ValueError: out of luck\nline 1" in told
    assert "attempts   1" in told
    facts = json.loads(shared_place.flash("jobs", "get", failed, "--json").good().stdout)
    assert (facts["job"]["status"], facts["endpoint"]["id"]) == ("FAILED", endpoint)
    assert facts["createdAt"] <= facts["startedAt"] <= facts["finishedAt"]

    refused = shared_place.flash("jobs", "cancel", failed)
    assert refused.status == 1
    assert f"job {failed} had ended already: FAILED; nothing was cancelled" in refused.stderr
    both = shared_place.flash("jobs", "cancel", "no-such-job", held)
    assert both.status == 1
    assert "no-such-job" in both.stderr
    assert both.stdout == f"job {held} of endpoint {NAME} is cancelled\n"
    assert "was cancelled before" in shared_place.flash("jobs", "cancel", held).good().stdout

    gate.touch()
    assert "is queued once more" in shared_place.flash("jobs", "retry", failed).good().stdout
    shared_place.flash("jobs", "attach", failed).good()
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
