"""The key that every request must carry: made once, kept in a file of this user alone, compared in constant time."""

import hmac
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from runpod_flash.control_plane.principals import Principal
from runpod_flash.control_plane.problems import problem_response
from runpod_flash.control_plane.secret_file import ensure_secret


def ensure_key(path: Path) -> str:
    """The key in the file, made where there is none.

    Raises:
        StoreError: the file cannot be read or written, is empty, or other users can read it.
        StoreFull: the disk is full.
    """
    return ensure_secret(path, lambda: secrets.token_urlsafe(32))


class AuthMiddleware:
    """Lets requests through that carry a key (`Authorization: Bearer KEY` or just `KEY`); 401 for others.

    `key` is the user's; `worker_keys` gives those of the workers that live now, whose code may call other endpoints.
    """

    def __init__(
        self, app: ASGIApp, key: str, worker_keys: Callable[[], Iterable[tuple[str, str, str]]] = tuple
    ) -> None:
        self._app = app
        self._key = key.encode()
        self._worker_keys = worker_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = _given_key(scope)
        if given is not None and self._fits(given):
            worker = next((w for k, w, o in self._worker_keys() if hmac.compare_digest(given, k.encode())), None)
            scope["flash.principal"] = Principal(worker=worker)
            await self._app(scope, receive, send)
            return
        detail = "no token provided" if given is None else "invalid api key"
        await problem_response(401, detail, code="AuthError")(scope, receive, send)

    def _fits(self, given: bytes) -> bool:
        keys = (self._key, *(key.encode() for key, _, _ in self._worker_keys()))
        return sum(hmac.compare_digest(given, key) for key in keys) > 0  # all are compared, so that time tells nothing


def _given_key(scope: Scope) -> bytes | None:
    """The key of the request, None where it has no usable header."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, rest = bytes(value).strip().partition(b" ")
            return (rest.strip() if scheme.lower() == b"bearer" else scheme + rest) or None
    return None
