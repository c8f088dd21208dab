"""The answer to a client, as far as it has been sent."""

import logging

from starlette.types import Receive, Scope, Send

from runpod_flash.control_plane.balancing.inbound import Inbound
from runpod_flash.control_plane.balancing.refusals import response
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.problems import Problem

logger = logging.getLogger(__name__)


class Reply:
    """Sends the parts of an answer, or a problem in its place. `worker` is the one that was asked."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, worker: str | None = None) -> None:
        self.started = False
        self._scope, self._receive, self._send = scope, receive, send
        self._worker = worker

    async def start(self, status: int, raw: list[tuple[bytes, bytes]]) -> None:
        """Send the head."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def part(self, body: bytes, *, more: bool = True) -> None:
        """Send a part of the body; the last one says that there is no more."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def fail(self, problem: Problem) -> None:
        """Answer with a problem. What has begun already stays incomplete: the server then ends the connection."""
        logger.warning("a request to worker %s failed: %s", self._worker, problem.detail)
        if not self.started:
            self.started = True
            await response(problem, self._worker)(self._scope, self._receive, self._send)

    async def too_large(self, inbound: Inbound, limits: Limits, *, swallow: bool = True) -> None:
        """Refuse a body over the limit. It is told at once; `swallow`: the rest of it passes unread, within bounds."""
        problem = Problem(
            413,
            f"the request has more than {limits.balanced_bytes} bytes, the most that is taken here",
            code="PayloadTooLarge",
        )
        if self.started:
            await self.fail(problem)
            return
        refusal = response(problem, self._worker)
        await self.start(refusal.status_code, refusal.raw_headers)
        await self.part(bytes(refusal.body))
        if swallow:
            await inbound.swallow(limits.body_s)
        await self.part(b"", more=False)
