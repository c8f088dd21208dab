"""What a client gets when no worker answers it: problem JSON, for a websocket as the answer to its upgrade."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runpod_flash.control_plane.balancing import headers
from runpod_flash.control_plane.balancing.picking import WORKER_ID
from runpod_flash.control_plane.problems import Problem, ProblemResponse, problem_response

_DENIAL: Final = "websocket.http.response"


class NoWorker(Problem):
    """No worker takes this request. Its body has `error` beside the words of a problem, as the platform's has."""


class UpgradeRefused(Exception):
    """The worker does not take a websocket; it answers with this status and these headers."""

    def __init__(self, status: int, raw: list[tuple[bytes, bytes]]) -> None:
        super().__init__(f"the worker refuses the websocket with status {status}")
        self.status, self.raw = status, raw

    def response(self, worker: str) -> Response:
        """The same for the client, without a body."""
        refused = Response(status_code=self.status)
        refused.raw_headers.extend(
            (name, value) for name, value in headers.to_client(self.raw, worker) if not name.startswith(b"content-")
        )
        return refused


def gone(worker: str) -> NoWorker:
    """The refusal of a request that insists on a worker that does not live any more."""
    return NoWorker(404, f"worker {worker!r:.80} is gone: affinity_worker_gone", code="affinity_worker_gone")


def waited_too_long() -> NoWorker:
    """The refusal of a request for which no worker became free in time."""
    return NoWorker(400, "timed out waiting for worker", code="worker_timeout")


def none_available(detail: str) -> NoWorker:
    """The refusal of a request for which no worker will ever come."""
    return NoWorker(400, detail, code="no_workers")


def response(refusal: Problem, worker: str | None = None) -> ProblemResponse:
    """The response of a refusal; `worker` is the one that the request was sent to."""
    named: Mapping[str, str] = {} if worker is None else {WORKER_ID: worker}
    if not isinstance(refusal, NoWorker):
        return problem_response(refusal.status, refusal.detail, code=refusal.code, headers=named)
    body: dict[str, Any] = {"status": refusal.status, "title": "Not Found" if refusal.status == 404 else "Bad Request"}
    error = "affinity_worker_gone" if refusal.status == 404 else refusal.detail
    body |= {"detail": refusal.detail, "code": refusal.code, "error": error}
    return ProblemResponse(body, status_code=refusal.status, headers=named)


async def answer(refused: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send it; a websocket that has not been accepted is refused with its status where the server can do that."""
    if scope["type"] == "websocket" and _DENIAL not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return
    await refused(scope, receive, send)
