"""What a failed request looks like: problem JSON with a code, never a stack trace."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from runpod_flash.control_plane.store import StoreFull
from runpod_flash.control_plane.volumes import VolumeTaken
from runpod_flash.errors import (
    AppNotFound,
    AuthError,
    BackendError,
    BackendUnavailable,
    ConfigError,
    ContentNotFound,
    EndpointNotFound,
    FlashError,
    JobNotFound,
    NameTaken,
    PayloadTooLarge,
    ShippingError,
    StageBusy,
    StageMoved,
    StageNotFound,
    VolumeFileNotFound,
    VolumeNotFound,
    WaitTimedOut,
    WireMismatch,
)
from worker_runtime.wire.errors import VersionMismatch, WireError

logger = logging.getLogger(__name__)

_STATUS: Final[Mapping[type[Exception], int]] = {
    ConfigError: 422,
    PayloadTooLarge: 413,
    ShippingError: 422,
    AuthError: 401,
    EndpointNotFound: 404,
    JobNotFound: 404,
    AppNotFound: 404,
    StageNotFound: 404,
    StageBusy: 409,
    StageMoved: 409,
    ContentNotFound: 422,
    VolumeNotFound: 404,
    VolumeFileNotFound: 404,
    VolumeTaken: 409,
    WireMismatch: 409,
    NameTaken: 409,
    StoreFull: 507,
    BackendUnavailable: 503,
    BackendError: 500,
    WaitTimedOut: 504,
    VersionMismatch: 409,
    WireError: 422,
}
"""The status of each exception; a class not listed has that of its nearest base, 500 where it has none."""

_WIRE_CODES: Final[Mapping[type[Exception], str]] = {VersionMismatch: "WireMismatch", WireError: "ShippingError"}
"""Exceptions of the wire, in the words of `runpod_flash.errors`."""


class Problem(Exception):
    """A request that is refused with this status.

    `errors` lists faults of a body, `code` names an error class, `headers` go with the response.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        errors: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


REFUSALS: Final = (Problem, HTTPException, FlashError, WireError)
"""The exceptions that are answers."""


class ProblemResponse(JSONResponse):
    """A JSON response of the type that says that it is a problem."""

    media_type = "application/problem+json"


def problem_response(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    errors: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
) -> ProblemResponse:
    """A response with `status`, `title` and `detail`, and `code` and `errors` where there are any."""
    body: dict[str, Any] = {"status": status, "title": HTTPStatus(status).phrase, "detail": detail}
    if code is not None:
        body["code"] = code
    if errors:
        body["errors"] = list(errors)
    return ProblemResponse(body, status_code=status, headers=headers)


def response_for(error: Exception) -> ProblemResponse:
    """The response to an exception that a request ended in."""
    if isinstance(error, Problem):
        return problem_response(error.status, error.detail, code=error.code, errors=error.errors, headers=error.headers)
    if isinstance(error, HTTPException):
        return problem_response(error.status_code, error.detail, headers=error.headers)
    if isinstance(error, FlashError | WireError):
        status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
        if status >= 500:
            logger.error("a request failed: %s", error)
        return problem_response(status, str(error), code=_code(error))
    logger.error("a request failed unexpectedly", exc_info=error)
    return problem_response(500, "the control plane failed; its log says why")


def _code(error: FlashError | WireError) -> str:
    """The name of the nearest class that clients know."""
    for kind in type(error).__mro__:
        if kind.__module__ == FlashError.__module__:
            return kind.__name__
    return _WIRE_CODES.get(type(error), ShippingError.__name__)


async def _handle(request: Request, error: Exception) -> Response:
    return response_for(error)


def handlers() -> dict[Any, ExceptionHandler]:
    """The exception handlers of the application."""
    return dict.fromkeys(REFUSALS, _handle)


class LastResort:
    """Outermost layer: an exception that nobody expected becomes a problem; its stack trace goes to the log alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            logger.debug("a client left before its request was complete")
        except Exception as error:
            if started:
                raise  # too late for an answer; the server closes the connection
            await response_for(error)(scope, receive, send)
