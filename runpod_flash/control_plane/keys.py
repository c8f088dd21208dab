"""The key that every request must carry: the owner's, a living worker's or one that was made for others."""

import hmac
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from runpod_flash.control_plane.api_keys import ApiKeys
from runpod_flash.control_plane.principals import NO_KEY, PRINCIPAL, Principal, WorkerKey
from runpod_flash.control_plane.problems import problem_response
from runpod_flash.control_plane.secret_file import ensure_secret

_OPEN_PATHS: Final = ("/openapi.json", "/v2/openapi.json", "/docs", "/flash/v1/logins", "/flash/v1/logins/claim")
_OPEN_FOLDER: Final = "/docs/"
_THE_OWNER: Final = Principal()
_POLICY_VIOLATION: Final = 1008  # of the codes with which websockets are closed


def ensure_key(path: Path) -> str:
    """The key in the file, made where there is none.

    Raises:
        StoreError: the file cannot be read or written, is empty, or other users can read it.
        StoreFull: the disk is full.
    """
    return ensure_secret(path, lambda: secrets.token_urlsafe(32))


class Keyring:
    """All keys that open this control plane: the owner's, those of the workers that live now, and API keys."""

    def __init__(self, key: str, worker_keys: Callable[[], Iterable[WorkerKey]], api_keys: ApiKeys) -> None:
        self._key = key.encode()
        self._worker_keys = worker_keys
        self._api_keys = api_keys

    def principal(self, given: bytes) -> Principal | None:
        """Who comes with this key. One that is wrong is compared with all, so that time tells nothing."""
        if hmac.compare_digest(given, self._key):
            return _THE_OWNER
        found = self._api_keys.principal(given)
        for each in self._worker_keys() if found is None else ():
            if hmac.compare_digest(given, each.key.encode()):
                found = Principal(each.owner, worker=each.worker, project=each.project)
        return found


class AuthMiddleware:
    """Lets requests through that carry a key (`Authorization: Bearer KEY` or just `KEY`); 401 for others.

    `identify` says whose key it is, which is left in the scope for `access.principal_of`. What describes the API, and
    nothing of anybody, needs no key, nor does who asks for one.
    """

    def __init__(self, app: ASGIApp, identify: Callable[[bytes], Principal | None]) -> None:
        self._app = app
        self._identify = identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = given_key(scope)
        principal = None if given is None else self._identify(given)
        if principal is not None:
            scope[PRINCIPAL] = principal  # it is the server's alone, and of this request
            await self._app(scope, receive, send)
        elif scope["path"] in _OPEN_PATHS or scope["path"].startswith(_OPEN_FOLDER):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        else:
            detail = NO_KEY if given is None else "invalid api key"
            await problem_response(401, detail, code="AuthError")(scope, receive, send)


def given_key(scope: Scope) -> bytes | None:
    """The key of the request, None where it has no usable header."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, rest = bytes(value).strip().partition(b" ")
            return (rest.strip() if scheme.lower() == b"bearer" else scheme + rest) or None
    return None
