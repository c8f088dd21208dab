"""The dev server's application: who may ask, what is taken up first, which endpoint it is, and the way there."""

import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from flash_cli.dev import guard, headers, sockets
from flash_cli.dev.bodies import completed
from flash_cli.dev.forwarding import Forwarding
from flash_cli.dev.inbound import Inbound
from flash_cli.dev.pages import Documents, Pages, no_documents
from flash_cli.dev.problems import Refused
from flash_cli.dev.state import Project, State
from flash_cli.dev.table import SUBMITTING, Place, file_parts, parts_of
from flash_cli.dev.upstream import Request, Upstream
from flash_cli.dev.visits import GONE, Passed, Visit, Visits

_MOST_BYTES: Final = 32 * 1024**2  # of a job's body; the target itself takes less
_BROKEN: Final = "BrokenFile"
_CLIENT: Final = "X-Flash-Client"
_REPLACED: Final = (b"content-length", b"content-type", b"transfer-encoding")

Waiting = Callable[[str], AbstractContextManager[object]]
"""While inside, a request waits for the endpoint of this name: a person sees that."""


class DevApp:
    """An ASGI application.

    Args:
        host: what the server listens on.
        client: the event stream that hears of what its requests do.
        waiting: shows that a request is under way.
        documents: what endpoints say of their routes themselves.
    """

    def __init__(
        self,
        project: Project,
        upstream: Upstream,
        visits: Visits,
        *,
        host: str,
        client: str,
        waiting: Waiting = nullcontext,
        documents: Documents = no_documents,
    ) -> None:
        self._project, self._upstream, self._visits = project, upstream, visits
        self._host, self._client, self._waiting = host, client, waiting
        self._forwarding = Forwarding(upstream)
        self._pages = Pages(documents)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
            if await self._pages.answer(self._project, scope, receive, send):
                return
            before, began = self._project.state, time.monotonic()
            state = await self._project.settled()
            edit_s = 0.0 if state is before else time.monotonic() - began
            await self._visit(state, self._place(state, scope), scope, receive, send, edit_s)
        except Refused as refusal:
            await refusal.answer(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        raw = scope["headers"]
        refused = guard.refusal(lambda name: headers.value_of(raw, name.encode()), self._host)
        if refused:
            raise Refused(403, refused)

    def _place(self, state: State, scope: Scope) -> Place:
        """What the request means. Raises Refused: 404, or 503 where its file is broken."""
        path = raw_path(scope)
        place = state.table.find(method_of(scope), path)
        if place is not None:
            return place
        parts = parts_of(path)
        for file, message in state.files.items():
            base = file_parts(file)
            if parts[: len(base)] == base:
                raise Refused(503, f"{file} cannot be used: {message}", _BROKEN)
        if state.problem:
            raise Refused(503, state.problem, _BROKEN)
        near = state.table.nearest(path)
        hint = f"did you mean {near}?" if near else "GET / lists what there is"
        raise Refused(404, f"there is nothing at {method_of(scope)} {path}; {hint}", "EndpointNotFound")

    async def _visit(
        self, state: State, place: Place, scope: Scope, receive: Receive, send: Send, edit_s: float
    ) -> None:
        number, visit = self._visits.begin(place.endpoint, method_of(scope), raw_path(scope))
        visit.edit_s = edit_s
        try:
            _check_code(state, place)
            path = target_path(place, state.ids[place.endpoint], scope["query_string"])
            if scope["type"] == "websocket":
                added = [(_CLIENT, self._client)]
                status = await sockets.relay(self._upstream, path, scope, receive, send, added)
                self._visits.end(number, Passed(status))
            else:
                await self._request(number, visit, place, path, scope, receive, send)
        except Refused as refusal:
            self._visits.end(number, Passed(refusal.status), problem=refusal.detail)
            raise
        except BaseException:
            self._visits.end(number, Passed(GONE), problem="broken off")
            raise

    async def _request(
        self, number: int, visit: Visit, place: Place, path: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        async with Inbound(receive).reading() as inbound:
            asked = await self._asked(place, path, scope, inbound)
            keep = not place.is_balanced
            with self._waiting(place.endpoint):
                passed = await self._forwarding.forward(asked, inbound, send, keep=keep)
        is_job = (keep and place.operation in SUBMITTING) or passed.status >= 400
        self._visits.end(number, passed, is_job=is_job)

    async def _asked(self, place: Place, path: str, scope: Scope, inbound: Inbound) -> Request:
        raw, added = scope["headers"], [(_CLIENT, self._client)]
        if not (place.short and place.operation in SUBMITTING):
            body = aiter(inbound) if headers.has_body(raw) else None
            told = headers.to_target(raw, added)
            return Request(scope["method"], path, told, body, repeat=body is None and place.may_repeat)
        body_bytes = await inbound.read(_MOST_BYTES)
        if body_bytes is None:
            raise Refused(413, f"the body has more than {_MOST_BYTES} bytes", "PayloadTooLarge")
        kept = [each for each in raw if each[0] not in _REPLACED]
        told = headers.to_target(kept, [*added, ("Content-Type", "application/json")])
        if not headers.value_of(raw, b"idempotency-key"):  # so that it makes one job, also where it is sent twice
            told.append(("Idempotency-Key", str(uuid.uuid4())))
        return Request(scope["method"], path, told, completed(body_bytes, place), repeat=True)


def _check_code(state: State, place: Place) -> None:
    """Raise Refused (503) where a request would run code that is not the newest, or the target has no such endpoint."""
    if place.brings_work or place.endpoint not in state.ids:
        why = state.broken.get(place.endpoint) or state.problem
        if why:
            raise Refused(503, why, _BROKEN)
    if place.endpoint not in state.ids:
        raise Refused(503, f"endpoint {place.endpoint!r} is not on the target yet", _BROKEN)


def target_path(place: Place, endpoint_id: str, query: bytes) -> str:
    """The raw path of a place at the target, with the query."""
    way = "lb" if place.is_balanced else "v2"
    asked = f"?{query.decode('ascii')}" if query else ""
    return f"/{way}/{quote(endpoint_id)}{place.rest}{asked}"


def raw_path(scope: Scope) -> str:
    """The path as the client sent it."""
    raw = scope.get("raw_path")
    return quote(scope["path"]) if raw is None else bytes(raw).decode("ascii", "replace")


def method_of(scope: Scope) -> str:
    """The method; WEBSOCKET for a handshake."""
    return "WEBSOCKET" if scope["type"] == "websocket" else str(scope["method"])
