"""The socket for clients of this machine that speak frames (`wire.calls`): one connection for all its calls."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

from runpod_flash.control_plane.api.conversation import BODY_LIMIT, Conversation, Conversations
from runpod_flash.control_plane.events import BEAT_S, EventHub
from runpod_flash.control_plane.outbox import Frames, Outbox
from runpod_flash.control_plane.principals import Principal
from runpod_flash.control_plane.problems import Problem, response_for
from runpod_flash.control_plane.turn import Step, Turn
from runpod_flash.errors import AuthError
from worker_runtime.wire import PROTOCOL, calls, frames, trace
from worker_runtime.wire.calls import Buffer
from worker_runtime.wire.errors import VersionMismatch, WireError
from worker_runtime.wire.fields import require
from worker_runtime.wire.frames import Header

logger = logging.getLogger(__name__)

HELLO_S: Final = 10.0
"""How long a client may take to say hello, in seconds."""

RELEASE_S: Final = 0.005
"""How long acceptance that may be told with the end waits for that, in seconds."""


class ChannelServer:
    """Listens on a unix socket.

    Args:
        conversations: what the clients may ask for.
        hub: where their events come from.
        identify: says whose key it is.
        welcome: what the welcome tells.
        turn: at whose end frames to clients leave.
    """

    def __init__(
        self,
        conversations: Conversations,
        hub: EventHub,
        identify: Callable[[bytes], Principal | None],
        welcome: Callable[[Principal], Mapping[str, Any]],
        turn: Turn | None = None,
    ) -> None:
        self.turn = turn or Turn()
        self._conversations, self._hub, self._identify, self._welcome = conversations, hub, identify, welcome
        self._server: asyncio.Server | None = None
        self._channels: set[_Channel] = set()
        self._path: Path | None = None

    async def start(self, path: Path) -> None:
        """Listen at `path`, for this user alone. Raises OSError."""
        path.unlink(missing_ok=True)
        old = os.umask(0o177)
        try:
            self._server = await asyncio.get_running_loop().create_unix_server(self._new, str(path))
        finally:
            os.umask(old)
        self._path = path

    async def close(self) -> None:
        """Stop listening and end every channel."""
        if self._server is not None:
            self._server.close()
        for channel in list(self._channels):
            channel.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _new(self) -> "_Channel":
        return _Channel(self, self._channels)

    def greet(self, header: Header) -> tuple[Principal, str, Mapping[str, Any]]:
        """Who comes, with which id, and what the welcome says. Raises WireError: nobody."""
        if header.get("type") != calls.HELLO:
            raise WireError(f"a client said {_shown(header)} instead of hello")
        if header.get("protocol") != PROTOCOL:
            raise VersionMismatch(f"a client speaks protocol {header.get('protocol')!r:.20}, this side {PROTOCOL}")
        principal, client = self._identify(require(header, "key", str).encode()), require(header, "client", str)
        if principal is None:
            raise Problem(401, "invalid api key", code=AuthError.__name__)
        if not calls.is_key(client) or "/" in client:
            raise WireError(f"a client's id is {client!r:.80}; it must be 1 to {calls.ID_LIMIT} characters without '/'")
        return principal, client, self._welcome(principal)

    def converse(
        self, principal: Principal, client: str, answers: Frames, wake: Callable[[], None]
    ) -> tuple[Conversation, Outbox | None]:
        """The conversation of a client that was greeted, and its events; None where there are no more."""
        conversation = self._conversations.begin(principal, client, answers, wake)
        return conversation, self._hub.attach(conversation.stream, answers, wake)

    def left(self, conversation: Conversation, outbox: Outbox) -> None:
        """A client has gone."""
        conversation.left()
        self._hub.detach(conversation.stream, outbox)


class _Channel(asyncio.Protocol):
    """One connection. What is to be sent in one turn of the loop is written together."""

    def __init__(self, server: ChannelServer, channels: "set[_Channel]") -> None:
        self._server, self._channels, self._turn = server, channels, server.turn
        self._loop = asyncio.get_running_loop()
        self._splitter = frames.Splitter(BODY_LIMIT)
        self._answers = Frames()
        self._transport: asyncio.Transport | None = None
        self._conversation: Conversation | None = None
        self._outbox: Outbox | None = None
        self._timer: asyncio.TimerHandle | None = None  # until hello; then of beats
        self._release: asyncio.TimerHandle | None = None
        self._woken = self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # that of uvloop does not derive from it
        self._channels.add(self)
        self._timer = self._loop.call_later(HELLO_S, self._refuse, WireError("a client did not say hello"))

    def data_received(self, data: bytes) -> None:
        trace.mark(trace.ARRIVED)
        try:
            for header, body in self._splitter.feed(data):
                if self._conversation is None:
                    self._greet(header)
                else:
                    self._conversation.take(header, body)
        except Exception as error:  # noqa: BLE001 - a border: one client's nonsense is its own affair
            self._refuse(error)

    def eof_received(self) -> bool:
        return False  # closes the transport

    def connection_lost(self, error: Exception | None) -> None:
        self._channels.discard(self)
        for timer in (self._timer, self._release):
            if timer is not None:
                timer.cancel()
        if self._conversation is not None and self._outbox is not None:
            self._server.left(self._conversation, self._outbox)
        self._transport = None

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    def close(self) -> None:
        """Send what there is, then end the connection."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _greet(self, header: Header) -> None:
        assert self._transport is not None
        principal, client, welcome = self._server.greet(header)
        self._transport.writelines(frames.encode({"type": calls.WELCOME, **welcome}))
        self._conversation, self._outbox = self._server.converse(principal, client, self._answers, self._wake)
        if self._outbox is None:  # the control plane ends
            self.close()
            return
        self._beat_later()

    def _wake(self) -> None:
        """Something is to be sent: at the end of this turn of the loop, with all else that comes until then."""
        if not self._woken:
            self._woken = True
            self._turn.at_end(Step.CLIENTS, self._flush)

    def _flush(self) -> None:
        self._woken = False
        transport, outbox = self._transport, self._outbox
        if transport is None or outbox is None or transport.is_closing():
            return
        if outbox.has_ended:
            self._end(transport, outbox)
        elif not self._full:
            if not self._answers.is_empty:
                self._write(transport, outbox.take())
            if self._release is None and self._answers.holds_back:
                self._release = self._loop.call_later(RELEASE_S, self._release_now)

    def _end(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        """The last words; a client that does not read does not hear them."""
        if self._full:
            transport.abort()
        else:
            self._write(transport, outbox.take())
            transport.close()

    @staticmethod
    def _write(transport: asyncio.Transport, pieces: list[Buffer]) -> None:
        if pieces:
            trace.mark(trace.TOLD)
            transport.writelines(pieces)

    def _release_now(self) -> None:
        self._release = None
        if self._answers.release():
            self._flush()

    def _beat_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    def _beat(self) -> None:
        if self._transport is not None and not self._full:
            self._transport.writelines(frames.encode({"type": calls.BEAT}))
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    def _refuse(self, error: Exception) -> None:
        """Say why, and end the connection."""
        logger.warning("a client's channel was closed: %s", error)
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._answers.refused([], bytes(response_for(error).body))
            if not self._full:
                transport.writelines(self._answers.take())
            transport.close()


def _shown(header: Header) -> str:
    return repr({name: value for name, value in header.items() if name != "key"})[:200]
