"""Many calls in one request, for clients that have HTTP alone: frames of `wire.calls` in its body and its answer."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api import access
from runpod_flash.control_plane.api.bodies import read_body
from runpod_flash.control_plane.api.conversation import BODY_LIMIT, Conversations
from runpod_flash.control_plane.outbox import Frames
from runpod_flash.control_plane.problems import Problem
from worker_runtime.wire import calls, frames
from worker_runtime.wire.errors import WireError


class CallsApi:
    """The route `/flash/v1/calls`. How the calls end is told on the client's event stream."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations

    def routes(self) -> list[BaseRoute]:
        """All routes of this face."""
        return [Route("/flash/v1/calls", self._calls, methods=["POST"])]

    async def _calls(self, request: Request) -> Response:
        client = access.client_of(request)
        if client is None:
            raise Problem(400, "header X-Flash-Client is missing; it must be the id of the client's event stream")
        principal, answers = access.principal_of(request), Frames()
        conversation = self._conversations.begin(principal, client.rpartition("/")[2], answers, lambda: None)
        for header, body in _frames(await read_body(request, BODY_LIMIT, self._conversations.limits.body_s)):
            conversation.take(header, body)
        await conversation.settled()
        answers.release()
        return Response(b"".join(answers.take()), media_type=calls.MEDIA_TYPE)


def _frames(data: bytes) -> list[tuple[frames.Header, bytes | bytearray]]:
    """The frames of a body. Raises WireError where they are none, or the last is not whole."""
    splitter = frames.Splitter(BODY_LIMIT)
    found = splitter.feed(data)
    if not splitter.whole:
        raise WireError("the body ends in the middle of a frame")
    return found
