"""What refused requests get, whatever the face: problem JSON."""

from collections.abc import Mapping
from typing import Any, Final

from runpod_flash.control_plane.api.openapi.model import PROBLEM_TYPE, Schema, problem_name
from runpod_flash.control_plane.api.openapi.shapes import listed, record, ref, text, whole

PROBLEM: Final[Schema] = record(
    {
        "status": whole("The HTTP status.", 400, maximum=599),
        "title": text("Its standard phrase."),
        "detail": text("What is wrong, for people."),
        "code": text("The error class of the SDK that says the same."),
        "errors": listed(text(), "Each fault of the body, with its path."),
    },
    optional=("code", "errors"),
    about="Why a request was refused. Never a stack trace.",
)

_MEANING: Final[Mapping[int, str]] = {
    400: "The request is not understood: no JSON, a field or parameter of another type or out of its bounds, or an"
    " operation that this type of endpoint does not have.",
    401: "No key, or one that is unknown, revoked or of a worker that has ended.",
    403: "The key's scope does not allow this.",
    404: "There is no such thing, or not for you, or not any more.",
    408: "The body did not arrive in time.",
    409: "It contradicts what is there: a name that is taken, another version of the protocol.",
    413: "The body is larger than what is taken here.",
    422: "The body is read and cannot be: each fault is named.",
    429: "Too many requests, or too many waiting jobs; Retry-After says when to try again.",
    500: "The control plane failed; its log says why.",
    502: "The worker gave no usable answer.",
    503: "It cannot be served now.",
    504: "The worker took too long.",
    507: "The disk is full, or its bound reached; nothing was accepted.",
}
_HEADERS: Final[Mapping[int, Mapping[str, Schema]]] = {
    429: {"Retry-After": whole("Seconds until the next try.")},
}


def responses() -> dict[str, Any]:
    """The refusals by their names, for `components.responses`."""
    return {problem_name(status): _response(status, about) for status, about in _MEANING.items()}


def _response(status: int, about: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"description": about, "content": {PROBLEM_TYPE: {"schema": ref("Problem")}}}
    if status in _HEADERS:
        shown["headers"] = {name: {"schema": dict(schema)} for name, schema in _HEADERS[status].items()}
    return shown
