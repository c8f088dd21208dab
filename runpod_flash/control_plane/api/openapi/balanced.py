"""Load-balanced endpoints by their paths, described. By host (`{endpoint}.HOST`) they are reached in the same way."""

from typing import Final

from runpod_flash.control_plane.api.openapi.model import Answer, Body, Face, Operation, Parameter
from runpod_flash.control_plane.api.openapi.shapes import ENDPOINT, text

_PATH = Parameter(
    name="path", place="path", schema=text(minLength=1), about="The path at the worker; it may have slashes."
)
_AFFINITY = Parameter(
    name="X-Runpod-Worker-Id",
    place="header",
    schema=text(maxLength=255),
    about="A worker's id: this one if it is there; with `strict` or `strict-resume` and a space before it: only this.",
)
_ANSWER = Answer(about="What the worker answered; its status may be any.", headers={"X-Runpod-Worker-Id": text()})
_REFUSED = (400, 403, 404, 413, 429, 502, 503, 504)
_WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")
_METHODS = ("GET", "HEAD", *_WITH_BODY, "OPTIONS")


def _forwarded(method: str) -> Operation:
    return Operation(
        method=method,
        path="/lb/{endpoint}/{path}",
        id=f"{method.lower()}Balanced",
        summary=f"{method} at a worker",
        about="Method, path, query, headers and body go to one worker unchanged, and its answer comes back as it comes."
        " GET can become a websocket.",
        parameters=(ENDPOINT, _PATH, _AFFINITY),
        body=Body(schema={}, media="*/*", required=False) if method in _WITH_BODY else None,
        answers={200: _ANSWER},
        problems=_REFUSED,
    )


FACE: Final = Face(
    name="Balanced",
    about="Endpoints of type LOAD_BALANCER: HTTP servers behind one address.",
    operations=tuple(_forwarded(method) for method in _METHODS),
)
