"""Every exception has a status, a code that clients know, and never a stack trace."""

import json
import logging

import pytest
from starlette.exceptions import HTTPException

from runpod_flash import errors
from runpod_flash.control_plane.problems import Problem, response_for
from runpod_flash.control_plane.store import StoreError, StoreFull
from worker_runtime.wire.errors import VersionMismatch, WireError


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.EndpointNotFound("x"), 404, "EndpointNotFound"),
        (errors.JobNotFound("x"), 404, "JobNotFound"),
        (errors.ContentNotFound("x"), 422, "ContentNotFound"),
        (errors.PayloadTooLarge("x"), 413, "PayloadTooLarge"),
        (errors.AuthError("x"), 401, "AuthError"),
        (errors.UnknownOption("x"), 422, "UnknownOption"),
        (errors.BackendUnavailable("x"), 503, "BackendUnavailable"),
        (errors.WireMismatch("x"), 409, "WireMismatch"),
        (errors.WaitTimedOut("x"), 504, "WaitTimedOut"),
        (errors.WorkerLost("x"), 500, "WorkerLost"),
        (errors.NameTaken("x"), 409, "NameTaken"),
        (errors.AppNotFound("x"), 404, "AppNotFound"),
        (errors.StageNotFound("x"), 404, "StageNotFound"),
        (errors.StageBusy("x"), 409, "StageBusy"),
        (errors.StageMoved("x"), 409, "StageMoved"),
        (StoreFull("x"), 507, "BackendError"),
        (StoreError("x"), 500, "BackendError"),
        (VersionMismatch("x"), 409, "WireMismatch"),
        (WireError("x"), 422, "ShippingError"),
        (HTTPException(405, headers={"Allow": "GET"}), 405, None),
        (Problem(400, "x", errors=["a", "b"]), 400, None),
    ],
)
def test_status_and_code(error: Exception, status: int, code: str | None) -> None:
    response = response_for(error)
    body = json.loads(bytes(response.body))
    assert (response.status_code, body["status"], body.get("code")) == (status, status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert body["title"]
    assert code is None or issubclass(getattr(errors, code), errors.FlashError)
    if isinstance(error, Problem):
        assert body["errors"] == ["a", "b"]
    if isinstance(error, HTTPException):
        assert response.headers["allow"] == "GET"


def test_a_problem_has_its_headers() -> None:
    response = response_for(Problem(429, "x", headers={"Retry-After": "7"}))
    assert (response.headers["retry-after"], response.headers["content-type"]) == ("7", "application/problem+json")


def test_every_public_error_has_a_status() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.FlashError):
            more = {"status": 500} if issubclass(kind, errors.ResponseError) else {}
            assert 400 <= response_for(kind("x", **more)).status_code < 600


def test_what_nobody_expected_is_in_the_log_only(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = response_for(ZeroDivisionError("secret detail"))
    assert response.status_code == 500
    assert b"secret" not in response.body
    assert b"ZeroDivision" not in response.body
    assert "secret detail" in caplog.text
