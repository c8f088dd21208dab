"""How calls leave in frames: as the last one of their function did, or after all is settled that they need.

request ▶ standing? ─ yes ─▶ arguments ▶ conversation
              └ no ▶ encode ▶ connect ▶ ship ▶ agree on the endpoint ▶ upload ▶ a standing ▶ conversation
"""

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from runpod_flash import outcome
from runpod_flash.agreement import Provisioned
from runpod_flash.backends.base import Backend
from runpod_flash.backends.conversation import Conversation
from runpod_flash.backends.waiting import Kind, Waiting
from runpod_flash.calls import RemoteObject, Request, Ticket
from runpod_flash.crossing import Crossing
from runpod_flash.delivery import Delivery, Holding, as_taken, delivered, encoded, shipped, way_to
from runpod_flash.deployed import Deployed
from runpod_flash.errors import ContentNotFound, EndpointNotFound, FlashError
from runpod_flash.journal import Journal
from runpod_flash.objects import Objects
from runpod_flash.serving import Served
from runpod_flash.settings import Settings
from runpod_flash.spec import EndpointSpec
from runpod_flash.standing import Noted, Same, Standing, Standings, same_of
from worker_runtime.wire.calls import Pattern
from worker_runtime.wire.class_names import ClassNames
from worker_runtime.wire.jobs import INLINE_LIMIT, Payload
from worker_runtime.wire.pieces import Pieces, joined
from worker_runtime.wire.specs import PackageIndex

CANCEL_S = 2.0
"""How long a cancelled call waits for the platform to take the cancellation, in seconds."""

SUBMITS = 3
"""How often a call is submitted: a platform may turn out to have lost the endpoint, then the artifact."""


@dataclass(slots=True)
class Link:
    """What belongs to one event loop: the connection, what was agreed over it, and work that several calls wait for."""

    delivery: Delivery
    connection: "asyncio.Task[Backend] | None" = None
    agreed: "dict[str, tuple[EndpointSpec, Provisioned]]" = field(default_factory=dict)  # by name
    standings: Standings = field(default_factory=Standings)
    served: "dict[str, Served]" = field(default_factory=dict)  # by name
    shared: "dict[Hashable, asyncio.Task[Any]]" = field(default_factory=dict)

    @property
    def backend(self) -> Backend | None:
        """What is connected to; None where nothing is yet."""
        connection = self.connection
        if connection is None or not connection.done() or connection.cancelled() or connection.exception() is not None:
            return None
        return connection.result()

    def place(self, arguments: Pieces) -> Payload | None:
        """See `Backend.place`. None where there is no connection, too."""
        backend = self.backend
        return None if backend is None else backend.place(arguments)


class Sending:
    """Sends calls in frames. A session is one, and has what this needs."""

    _links: dict[asyncio.AbstractEventLoop, Link]
    _held: set[Holding]
    objects: Objects

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """The settings."""

    @property
    @abstractmethod
    def deployed(self) -> Deployed | None:
        """The stage whose endpoints names mean; None: they mean those of the project."""

    @property
    @abstractmethod
    def journal(self) -> Journal | None:
        """Where submissions are noted."""

    @abstractmethod
    def _link(self) -> Link:
        """What belongs to the running event loop."""

    @abstractmethod
    async def _backend(self) -> Backend:
        """The connection of the running event loop."""

    @abstractmethod
    def _package_index(self) -> PackageIndex:
        """Where packages come from."""

    @abstractmethod
    def _names(self) -> ClassNames:
        """The classes that values in the neutral encoding may be made of."""

    @abstractmethod
    async def _agree(self, backend: Backend, spec: EndpointSpec, target: Callable[..., Any] | None) -> Provisioned:
        """The endpoint, which after this is on the platform as it is declared."""

    async def _fetched(self, waiting: Waiting, payload: Payload) -> Any:
        """The value of a call that is not in what told its end, and that nobody else will ask for."""
        backend = await self._backend()
        value = outcome.loaded(await backend.fetch(payload), waiting.kind.name, waiting.facts, self._names)
        backend.taken(payload)
        return value

    def _sent(
        self, request: Request, tickets: "list[Ticket] | None" = None, *, submits_only: bool = False
    ) -> Waiting | bytes | None:
        """A call on its way as the last one of its function went; where that cannot be, its arguments, if encoded."""
        link = self._links.get(asyncio.get_running_loop())
        if link is None or (standing := link.standings.get(self._same(request))) is None:
            return None
        arguments = standing.encoded(request)
        if not standing.stands(link.agreed.get(request.spec.name), self._held):
            return joined(arguments)  # what follows waits, and whoever has the arguments may change them meanwhile
        payload = Payload.inlined(arguments) if isinstance(arguments, bytes) else link.place(arguments)
        if payload is None or (payload.inline is not None and payload.size > INLINE_LIMIT):
            return joined(arguments)
        if request.instance is not None:
            self._own(request.instance)
        return standing.kind.conversation.submit(standing.kind, payload, tickets, submits_only=submits_only)

    async def _send_anew(
        self,
        request: Request,
        tickets: "list[Ticket] | None" = None,
        *,
        arguments: bytes | None = None,
        submits_only: bool = False,
        key: str = "",
    ) -> Waiting | None:
        """A call on its way, with all that it needs at the platform; None where each is a request of its own.

        `key`: under which it was sent before.
        """
        if self._goes_alone(submits_only=submits_only):
            return None
        way = way_to(request.spec, self.settings) if self.deployed is None else self.deployed.way
        if arguments is None:
            arguments = joined(encoded(request, way))
        backend = await self._backend()
        if backend.conversation is None:
            return None
        way, arguments = as_taken(request, way, arguments, self.settings, backend)
        standing = await self._settled(request, way, backend, backend.conversation)
        payload = await delivered(backend, arguments)
        if request.instance is not None:
            self._own(request.instance)
        return standing.kind.conversation.submit(
            standing.kind, payload, tickets, key=key, again=bool(key), submits_only=submits_only
        )

    def _goes_alone(self, *, submits_only: bool) -> bool:
        """Whether it is known that a call is a request of its own, or that its caller does not wait until its end."""
        if not submits_only and self.deployed is not None and self.deployed.patience_s is not None:
            return True
        backend = self._link().backend
        return backend is not None and backend.conversation is None

    async def _settled(self, request: Request, way: Crossing, backend: Backend, conversation: Conversation) -> Standing:
        """What the calls of a request's function have in common, with all of that at the platform."""
        spec, link, same = request.spec, self._link(), self._same(request)
        artifact = shipped(request, way, backend, self._package_index()) if self.deployed is None else None
        endpoint_id = (await self._agree(backend, spec, request.target)).id
        agreed = link.agreed[spec.name]
        known = link.standings.get(same)
        if known is not None and known.artifact is artifact and known.stands(agreed, self._held):
            return known
        call = await link.delivery.template(backend, artifact, request)
        journal = self.journal
        notes = Noted(journal, spec.name, endpoint_id, request.shown) if journal is not None else None
        kind = Kind(Pattern(endpoint_id, call, request.options.to_body()), spec.name, notes, conversation)
        held = request.target, spec, request.options, request.retries, request.instance
        holding = "", "" if artifact is None else artifact.id
        standing = Standing(held, request.target, way, artifact, agreed, kind, holding)
        link.standings.put(same, standing)
        return standing

    async def _send_again(
        self,
        request: Request,
        refused: Waiting,
        tickets: "list[Ticket] | None" = None,
        *,
        submits_only: bool = False,
    ) -> Waiting:
        """The call once more, which was refused because the platform has lost what it needs; it has ended well."""
        for left in reversed(range(SUBMITS - 1)):
            self._forget(request.spec)
            waiting = await self._send_anew(request, tickets, submits_only=submits_only, key=refused.key)
            assert waiting is not None
            try:
                await waiting
            except asyncio.CancelledError:
                await self._give_up(waiting)
                raise
            except (EndpointNotFound, ContentNotFound):
                if not left:
                    raise
            else:
                return waiting
        raise AssertionError("unreachable")

    async def _give_up(self, waiting: Waiting) -> None:
        """Cancel a call that nobody waits for any more. One more cancellation does not stop this."""
        for _ in range(2):  # the end of the event loop may cancel what is being cancelled
            with contextlib.suppress(asyncio.CancelledError):
                with contextlib.suppress(FlashError, TimeoutError):
                    async with asyncio.timeout(CANCEL_S):
                        await waiting.kind.conversation.give_up(waiting)
                return  # a platform that does not answer is asked once

    def _same(self, request: Request) -> Same:
        return same_of(request, by_shape=self.deployed is not None)

    def _own(self, instance: RemoteObject) -> None:
        if not instance.borrowed:
            self.objects.add(instance)

    def _forget(self, spec: EndpointSpec) -> None:
        """The platform has lost the endpoint, or what was sent: all is agreed on and sent anew."""
        link = self._link()
        link.agreed.pop(spec.name, None)
        link.standings.clear()
        self._held.clear()
