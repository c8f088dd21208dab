"""Load-balanced endpoints by their paths, described. By host (`{endpoint}.HOST`) they are reached in the same way."""

from typing import Final

from runpod_flash.control_plane.api.openapi.model import Answer, Body, Face, Operation, Parameter
from runpod_flash.control_plane.api.openapi.shapes import ENDPOINT, text, whole
from runpod_flash.control_plane.balancing.hosts import PREFIX
from runpod_flash.control_plane.balancing.picking import VERSION, WORKER_ID

_PATH = Parameter(
    name="path", place="path", schema=text(minLength=1), about="The path at the worker; it may have slashes."
)
_AFFINITY = Parameter(
    name=WORKER_ID,
    place="header",
    schema=text(maxLength=255),
    about="A worker's id: this one if it is there; with `strict` or `strict-resume` and a space before it: only this.",
)
_VERSION = Parameter(
    name=VERSION,
    place="header",
    schema=whole("", 0),
    about="No worker of an older version of the endpoint than this one (`endpointVersion`) gets the request.",
)
_ANSWER = Answer(
    about="What the worker answered, whatever its status. Where none did: problem JSON, with `error` beside it if there"
    " was no worker (400 `worker_timeout` or `no_workers`, 404 `affinity_worker_gone`); 401, 403, 404 as elsewhere; 413"
    " above the bound on bodies; 502 for an answer that is none, 504 for one that takes too long, 503 at the end.",
    content={"*/*": {}},
    headers={WORKER_ID: text("Which worker it was.")},
)
_WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")
_METHODS = ("GET", *_WITH_BODY, "OPTIONS")


def _forwarded(method: str) -> Operation:
    return Operation(
        method=method,
        path=f"{PREFIX}/{{endpoint}}/{{path}}",
        id=f"{method.lower()}Balanced",
        summary=f"{method} at a worker",
        about="Method, path, query, headers and body go to one worker unchanged, and its answer comes back as it comes."
        " GET can become a websocket.",
        parameters=(ENDPOINT, _PATH, _AFFINITY, _VERSION),
        body=Body(schema={}, media="*/*", required=False) if method in _WITH_BODY else None,
        answers={"default": _ANSWER},
    )


FACE: Final = Face(
    name="Balanced",
    about="Endpoints of type LOAD_BALANCER: HTTP servers behind one address.",
    operations=tuple(_forwarded(method) for method in _METHODS),
)
