"""What a client gets when no worker answers it."""

import json

import pytest

from runpod_flash.control_plane.balancing import refusals
from runpod_flash.control_plane.problems import Problem


@pytest.mark.parametrize(
    ("refusal", "status", "code", "error"),
    [
        (refusals.gone("w1"), 404, "affinity_worker_gone", "affinity_worker_gone"),
        (refusals.waited_too_long(), 400, "worker_timeout", "timed out waiting for worker"),
        (refusals.none_available("no workers available"), 400, "no_workers", "no workers available"),
    ],
)
def test_no_worker_is_told_in_both_ways(refusal: Problem, status: int, code: str, error: str) -> None:
    response = refusals.response(refusal)
    body = json.loads(bytes(response.body))
    assert (response.status_code, response.media_type) == (status, "application/problem+json")
    assert (body["status"], body["code"], body["error"], body["detail"]) == (status, code, error, refusal.detail)
    assert "x-runpod-worker-id" not in response.headers


def test_another_problem_names_the_worker_that_was_asked() -> None:
    response = refusals.response(Problem(502, "broken"), "w1")
    assert json.loads(bytes(response.body)) == {"status": 502, "title": "Bad Gateway", "detail": "broken"}
    assert response.headers["X-Runpod-Worker-Id"] == "w1"


def test_a_refused_upgrade_keeps_status_and_headers_but_not_the_body() -> None:
    told = [(b"Content-Length", b"9"), (b"Content-Encoding", b"gzip"), (b"Location", b"/x"), (b"Set-Cookie", b"a=1")]
    response = refusals.UpgradeRefused(302, told).response("w1")
    assert (response.status_code, bytes(response.body)) == (302, b"")
    assert dict(response.raw_headers) == {
        b"content-length": b"0", b"location": b"/x", b"set-cookie": b"a=1", b"x-runpod-worker-id": b"w1",
    }  # fmt: skip
