"""How a request names its endpoint: by the host (`{id}.my.domain`) or by the path (`/lb/{id}/…`)."""

from collections.abc import Callable
from typing import Final, Protocol
from urllib.parse import quote, unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from runpod_flash.control_plane.balancing.headers import REACHED_BELOW

PREFIX: Final = "/lb"
"""Below it endpoints are addressed by path: the next part is the endpoint's id, the rest is the worker's path."""


_OCTET: Final = 3  # digits at most


class Handler(Protocol):
    """What takes requests for endpoints."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, endpoint_id: str, path: bytes) -> None:
        """Answer one request or websocket; `path` is the raw path for the worker."""


def raw_path(scope: Scope) -> bytes:
    """The path as the client sent it, percent-encoding and all."""
    raw = scope.get("raw_path")
    return quote(scope["path"]).encode() if raw is None else bytes(raw)


def split_path(raw: bytes) -> tuple[str, bytes]:
    """The endpoint's id and the worker's raw path, of a path below PREFIX. Nothing in the rest is decoded."""
    _, _, endpoint, *rest = raw.split(b"/", 3) if raw.count(b"/") > 1 else (b"", b"", b"")
    return unquote_to_bytes(endpoint).decode("latin-1"), b"/" + b"".join(rest)


def first_label(host: bytes) -> str | None:
    """What stands before the first dot of a host, in lower case; None where there is no dot."""
    label, dot, _ = host.decode("latin-1").lower().partition(".")
    return label if dot else None


def endpoint_of_host(scope: Scope, is_endpoint: Callable[[str], bool]) -> str | None:
    """The endpoint that the host of a request names, if it names one."""
    for name, value in scope["headers"]:
        if name == b"host":
            label = first_label(value)
            is_address = label is not None and len(label) <= _OCTET and label.isdigit()
            return label if label and not is_address and is_endpoint(label) else None
    return None


class HostRouting:
    """Middleware: requests to `{id}.<anything>` go to that endpoint, with their whole path, others to the app.

    So do those below PREFIX, which need no look at the other routes.
    """

    def __init__(self, app: ASGIApp, handler: Handler, is_endpoint: Callable[[str], bool]) -> None:
        self._app = app
        self._handler = handler
        self._below = PathRouting(handler)
        self._is_endpoint = is_endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            label = endpoint_of_host(scope, self._is_endpoint)
            if label is not None:
                await self._handler.handle(scope, receive, send, label, raw_path(scope))
                return
            if scope["path"].startswith(f"{PREFIX}/"):
                await self._below(scope, receive, send)
                return
        await self._app(scope, receive, send)


class PathRouting:
    """The app to be mounted at PREFIX."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint, path = split_path(raw_path(scope))
        below = {**scope, REACHED_BELOW: f"{PREFIX}/{quote(endpoint, safe='')}"}
        await self._handler.handle(below, receive, send, endpoint, path)
