"""What the dev server itself answers when it does not pass a request on: problem JSON, as the target's."""

from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send


class Refused(Exception):
    """A request that is answered here, with this status. `code` names an error of ours."""

    def __init__(self, status: int, detail: str, code: str = "") -> None:
        super().__init__(detail)
        self.status, self.detail, self.code = status, detail, code

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; also in answer to the handshake of a websocket."""
        body: dict[str, Any] = {
            "status": self.status,
            "title": HTTPStatus(self.status).phrase,
            "detail": self.detail,
            **({"code": self.code} if self.code else {}),
        }
        response = JSONResponse(body, self.status, media_type="application/problem+json")
        await response(scope, receive, send)
