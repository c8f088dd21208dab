"""Takes requests and websockets for load-balanced endpoints and finds a worker for each."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from runpod_flash.control_plane.balancing import headers, refusals
from runpod_flash.control_plane.balancing.client_side import ClientSide
from runpod_flash.control_plane.balancing.inbound import Inbound
from runpod_flash.control_plane.balancing.late_client import LateClient
from runpod_flash.control_plane.balancing.loads import Loads, Ticket
from runpod_flash.control_plane.balancing.picking import VERSION, WORKER_ID, Affinity, Bond, Unpicked, Upstream, pick
from runpod_flash.control_plane.balancing.reply import Reply
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.problems import Problem, response_for
from runpod_flash.errors import FlashError

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse

T = TypeVar("T")

_LEAVING_S: Final = 1.0
_WORKER_ID: Final = WORKER_ID.lower().encode()
_VERSION: Final = VERSION.lower().encode()


class Workers(Protocol):
    """What the gateway knows of workers."""

    def of(self, endpoint_id: str) -> Iterable[Upstream]:
        """The workers of an endpoint that live now, those that start or drain included."""

    def are_waited_for(self, endpoint_id: str) -> None:
        """A request has come that no worker takes now."""

    def hopeless(self, endpoint_id: str) -> str | None:
        """Why no worker of it will ever come ("no workers available", say); None where one may."""


Authorize = Callable[[HTTPConnection, str], str | None]
"""Gives the event stream that hears of the request, None for none.

Raises Problem or FlashError where this connection may not use that endpoint, or where there is none.
"""


@dataclass(frozen=True, slots=True)
class _Ask:
    """One request or websocket. `path` is the raw path for the worker."""

    scope: Scope
    receive: Receive
    send: Send
    endpoint: str
    path: bytes
    affinity: Affinity
    client: str | None


class Gateway:
    """Balances. `loads` knows who has how much to do, and tells; `changed` must be called when workers change."""

    def __init__(self, workers: Workers, limits: Limits, client: LateClient, authorize: Authorize) -> None:
        self.loads: Final = Loads()
        self._workers = workers
        self._limits = limits
        self._client = client
        self._authorize = authorize
        self._changes: dict[str, asyncio.Event] = {}
        self._closed = False

    def changed(self, endpoint_id: str) -> None:
        """A worker has come, is healthy or not any more, shall end or has ended, or none will come: who waits looks."""
        self.loads.forget(endpoint_id, {worker.id for worker in self._workers.of(endpoint_id)})
        event = self._changes.pop(endpoint_id, None)
        if event is not None:
            event.set()

    def close(self) -> None:
        """Take nothing new and send away who waits (503). What runs goes on until the client is closed."""
        self._closed = True
        for endpoint_id in list(self._changes):
            self._changes.pop(endpoint_id).set()

    async def handle(self, scope: Scope, receive: Receive, send: Send, endpoint_id: str, path: bytes) -> None:
        """Answer one request or websocket. `path` is the raw path for the worker."""
        try:
            client = self._authorize(HTTPConnection(scope), endpoint_id)
            _check(scope, path)
            wanted = (headers.value_of(scope["headers"], name).decode("latin-1") for name in (_WORKER_ID, _VERSION))
            affinity = Affinity.parse(*wanted)
        except (Problem, FlashError) as error:
            await refusals.answer(response_for(error), scope, receive, send)
            return
        ask = _Ask(scope, receive, send, endpoint_id, path, affinity, client)
        await (self._request(ask) if scope["type"] == "http" else self._websocket(ask))

    async def _request(self, ask: _Ask) -> None:
        limit = self._limits.balanced_bytes
        if headers.declared_size(ask.scope["headers"]) > limit:
            await self._refuse_unread(ask)
            return
        async with Inbound(ask.receive, limit).reading() as inbound, _task(self._answer(ask, inbound)) as answering:
            await _first_of(answering, inbound.left)
            if answering.done():
                answering.result()

    async def _refuse_unread(self, ask: _Ask) -> None:
        inbound = Inbound(ask.receive, 0)
        reply = Reply(ask.scope, ask.receive, ask.send)
        if headers.expects_continue(ask.scope["headers"]):  # the body is not on its way, and need not come
            await reply.too_large(inbound, self._limits, swallow=False)
            return
        async with inbound.reading():
            await reply.too_large(inbound, self._limits)

    async def _answer(self, ask: _Ask, inbound: Inbound) -> None:
        with self.loads.heard_by(ask.endpoint, ask.client):
            try:
                while not await self._answered(ask, inbound):
                    pass
            except Problem as refusal:
                await refusals.response(refusal)(ask.scope, ask.receive, ask.send)

    async def _answered(self, ask: _Ask, inbound: Inbound) -> bool:
        """Answer by a worker; False: it has ended before it read anything of this. Raises Problem: there is none."""
        with self.loads.request(ask.endpoint) as ticket:
            worker = await self._pick(ask, ticket)
            forwarding = await self._client.get()
            reply = Reply(ask.scope, ask.receive, ask.send, worker.id)
            if not await forwarding.forward(ask.scope, inbound, reply, worker, ask.path, self._limits):
                if await self._leaves(ask.endpoint, worker.id):
                    return False
                await reply.fail(Problem(502, "the worker did not answer: nobody takes connections at its port"))
        return True

    async def _leaves(self, endpoint_id: str, worker_id: str) -> bool:
        """Whether a worker that cannot be reached has ended, which may not be known at once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVING_S):
                while any(one.id == worker_id and not one.draining for one in self._workers.of(endpoint_id)):
                    await self._changes.setdefault(endpoint_id, asyncio.Event()).wait()
                return True
        return False

    async def _pick(self, ask: _Ask, ticket: Ticket) -> Upstream:
        """The worker for this request, waited for. Raises Problem: there is none."""
        if not self._closed and self._at_once(ask) is None:
            self._workers.are_waited_for(ask.endpoint)
        is_strict = ask.affinity.bond is Bond.STRICT
        patience = self._limits.affinity_wait_s if is_strict else self._limits.balanced_wait_s
        try:
            async with asyncio.timeout(patience):
                while True:
                    worker = self._now(ask)
                    if worker is not None:
                        ticket.give_to(worker.id)
                        return worker
                    await self._changes.setdefault(ask.endpoint, asyncio.Event()).wait()
        except TimeoutError:
            raise refusals.waited_too_long() from None

    def _now(self, ask: _Ask) -> Upstream | None:
        """The worker for this request as things are now. Raises Problem: there will never be one."""
        if self._closed:
            raise Problem(503, "the control plane is about to stop", code="BackendUnavailable")
        worker = self._at_once(ask)
        reason = self._workers.hopeless(ask.endpoint) if worker is None else None
        if reason is not None:
            raise refusals.none_available(reason)
        return worker

    def _at_once(self, ask: _Ask) -> Upstream | None:
        """A worker that takes this request now. Raises Problem: the one that it insists on is gone."""
        choice = pick(ask.affinity, self._workers.of(ask.endpoint), self.loads.uses(ask.endpoint))
        if choice is Unpicked.GONE:
            raise refusals.gone(ask.affinity.worker)
        return choice if isinstance(choice, Upstream) else None

    async def _websocket(self, ask: _Ask) -> None:
        await ask.receive()  # websocket.connect
        with self.loads.request(ask.endpoint) as ticket:
            async with _task(self._open(ask, ticket)) as opening, _task(ask.receive()) as first:
                await _first_of(opening, first)
                if not opening.done():
                    return  # before it is accepted, a client can only leave
                try:
                    socket = opening.result()
                except refusals.UpgradeRefused as refusal:
                    assert ticket.worker is not None
                    await refusals.answer(refusal.response(ticket.worker), ask.scope, ask.receive, ask.send)
                except Problem as refusal:
                    refused = refusals.response(refusal, ticket.worker)
                    await refusals.answer(refused, ask.scope, ask.receive, ask.send)
                else:
                    await self._converse(ask, ticket, socket, first)

    async def _open(self, ask: _Ask, ticket: Ticket) -> "ClientWebSocketResponse":
        worker = await self._pick(ask, ticket)
        forwarding = await self._client.get()
        return await forwarding.sockets.connect(ask.scope, worker, ask.path, self._limits)

    async def _converse(
        self, ask: _Ask, ticket: Ticket, socket: "ClientWebSocketResponse", first: "asyncio.Future[Message]"
    ) -> None:
        forwarding = await self._client.get()
        client = ClientSide(first, ask.receive, ask.send)
        named = [(_WORKER_ID, (ticket.worker or "").encode())]
        await forwarding.sockets.converse(socket, client, named, self._limits)


@contextlib.asynccontextmanager
async def _task(work: Awaitable[T]) -> AsyncIterator[asyncio.Future[T]]:
    """Run it beside the block; it has ended when the block has."""
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _first_of(*tasks: "asyncio.Future[Any]") -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


def _check(scope: Scope, path: bytes) -> None:
    """Raise Problem where this is no request for a worker."""
    if scope.get("method") == "CONNECT":
        raise Problem(405, "method CONNECT is for proxies; this is none")
    if not (path.startswith(b"/") and path.isascii()):
        raise Problem(400, f"the path is {path!r:.80}; it must begin with / and be percent-encoded")
