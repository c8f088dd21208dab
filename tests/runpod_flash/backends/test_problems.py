"""What refusals mean."""

import json
from typing import Any

import pytest

from runpod_flash import errors
from runpod_flash.backends.problems import Refusal


def refused(status: int, body: Any, missing: type[errors.FlashError] = errors.BackendError) -> errors.FlashError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Refusal(status, raw, "GET /x", "the platform", "set the key", missing).error()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "EndpointNotFound", errors.EndpointNotFound),
        (404, "JobNotFound", errors.JobNotFound),
        (422, "ContentNotFound", errors.ContentNotFound),
        (409, "WireMismatch", errors.WireMismatch),
        (422, "ShippingError", errors.ShippingError),
        (503, "BackendUnavailable", errors.BackendUnavailable),
        (401, None, errors.AuthError),
        (403, None, errors.AuthError),
        (413, None, errors.PayloadTooLarge),
        (400, None, errors.ConfigError),
        (500, None, errors.BackendError),
        (500, "SystemExit", errors.BackendError),
    ],
)
def test_kinds(status: int, code: str | None, kind: type[errors.FlashError]) -> None:
    error = refused(status, {"status": status, "title": "T", "detail": "the detail", "code": code})
    assert type(error) is kind
    assert "the detail" in str(error)


def test_a_404_means_what_was_asked_for() -> None:
    assert type(refused(404, {"title": "Not Found"}, errors.JobNotFound)) is errors.JobNotFound
    assert type(refused(404, b"", errors.EndpointNotFound)) is errors.EndpointNotFound


def test_the_key_is_explained() -> None:
    assert str(refused(401, {"detail": "wrong"})) == "the platform refuses the key (wrong); set the key"


def test_faults_of_a_body_are_listed() -> None:
    error = refused(422, {"detail": "the endpoint is wrong", "errors": ["$.a: no", "$.b: no"]})
    assert isinstance(error, errors.ConfigError)
    assert str(error) == "the endpoint is wrong; $.a: no; $.b: no"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": "boom"}, "boom"),
        ({"message": "bad"}, "bad"),
        (b"<html>", "<html>"),
        (b"", "status 500"),
        ([1], "status 500"),
    ],
)
def test_other_dialects(body: Any, said: str) -> None:
    assert said in str(refused(500, body))
