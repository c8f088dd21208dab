"""The control plane's end of the worker link: reads frames and hands them on."""

import asyncio
import hmac
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

from runpod_flash.control_plane.fleet import Worker
from runpod_flash.control_plane.turn import Step, Turn
from worker_runtime.wire import PROTOCOL, frames, messages, trace
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.frames import Body
from worker_runtime.wire.items import Item
from worker_runtime.wire.ranges import Range

logger = logging.getLogger(__name__)

_HELLO_TIMEOUT_S = 10.0


class WorkerEvents(Protocol):
    """Who wants to know what workers say."""

    def expected(self, worker_id: str) -> Worker | None:
        """The worker that was started under this id."""

    def together(self) -> AbstractContextManager[None]:
        """What is told inside came together."""

    def connected(self, worker: Worker, link: "WorkerLink") -> None: ...

    def ready(self, worker: Worker, python: str) -> None: ...

    def beat(self, worker: Worker) -> None: ...

    def log(self, worker: Worker, job: str | None, stream: str, lines: list[str]) -> None: ...

    def retire(self, worker: Worker) -> None:
        """It takes no more jobs: it is about to end."""

    def item(self, worker: Worker, job: str, attempt: int, item: Item) -> None: ...

    def progressed(self, worker: Worker, job: str, attempt: int, progress: dict[str, Any]) -> None: ...

    def loaded(self, worker: Worker, modules: list[Any]) -> None:
        """It has imported these modules of installed packages."""

    def holds(self, worker: Worker, ranges: list[str]) -> None:
        """It still uses these ranges of shared memory, arguments of a call that is about to be finished."""

    def finished(
        self, worker: Worker, job: str, attempt: int, error: dict[str, Any] | None, body: Body | Range
    ) -> None:
        """`body`: the encoded result, or where that lies."""

    def of_loan(self, worker: Worker, header: dict[str, Any], body: Body) -> None:
        """It says something of the client to which it is lent."""

    def gave_back(self, worker: Worker, jobs: list[tuple[str, int]]) -> None:
        """It has not begun these attempts, and will not."""

    def unbegun(self, worker: Worker, jobs: list[str]) -> None:
        """It is about to be gone, and has not begun these jobs."""

    def hopeless(self, worker: Worker, reason: str, stderr: list[str]) -> None: ...

    def gone(self, worker: Worker, reason: str, stderr: list[str]) -> None: ...


class WorkerLink:
    """One open stream to a worker. What is sent in one turn of the loop is written together, at its end."""

    def __init__(self, transport: asyncio.WriteTransport, turn: Turn) -> None:
        self._transport, self._turn = transport, turn
        self._due: list[Body | memoryview] = []

    def send(self, header: dict[str, Any], body: Body = b"") -> None:
        """Send one frame; a closed stream swallows it, its end is noticed by the reader."""
        self.send_whole(frames.head_of(header), body)

    def send_whole(self, head: bytes, body: Body = b"") -> None:
        """The same, of a header that is JSON already."""
        if not self._due:
            self._turn.at_end(Step.WORKERS, self._flush)
        self._due += frames.whole(head, body)

    def close(self) -> None:
        """Send what is due and close the stream."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        due, self._due = self._due, []
        if due and not self._transport.is_closing():
            self._transport.writelines(due)


class LinkServer:
    """Listens for workers on a unix socket. `turn`: at whose end frames to workers leave."""

    def __init__(self, events: WorkerEvents, turn: Turn | None = None) -> None:
        self._events, self._turn = events, turn or Turn()
        self._server: asyncio.Server | None = None
        self._conversations: set[_Conversation] = set()

    async def start(self, path: str) -> None:
        """Listen at `path`. Raises OSError."""
        self._server = await asyncio.get_running_loop().create_unix_server(self._new, path)

    async def close(self) -> None:
        """Stop listening and close every stream; the workers end."""
        if self._server is not None:
            self._server.close()
        for conversation in list(self._conversations):
            conversation.end()

    def _new(self) -> "_Conversation":
        return _Conversation(self._events, self._conversations, self._turn)


class _Conversation(asyncio.Protocol):
    """What one who has connected says, from hello to its end."""

    def __init__(self, events: WorkerEvents, conversations: "set[_Conversation]", turn: Turn) -> None:
        self._events, self._conversations, self._turn = events, conversations, turn
        self._splitter = frames.Splitter()
        self._worker: Worker | None = None  # once it has said hello
        self._transport: asyncio.Transport
        self._patience: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # that of uvloop is no subclass
        self._conversations.add(self)
        self._patience = asyncio.get_running_loop().call_later(_HELLO_TIMEOUT_S, self._refuse, "it said nothing")

    def data_received(self, data: bytes) -> None:
        trace.mark(trace.HEARD)
        try:
            heard = self._splitter.feed(data)
        except WireError as error:
            self._break(error)
            return
        if len(heard) == 1:
            self._hear(*heard[0])
            return
        with self._events.together():
            for header, body in heard:
                if self not in self._conversations:
                    return
                self._hear(header, body)

    def connection_lost(self, error: Exception | None) -> None:
        self.end()

    def end(self, reason: str = "its link broke", stderr: Sequence[str] = ()) -> None:
        """Close the stream, and tell that the worker is gone."""
        if self in self._conversations:
            self._conversations.discard(self)
            self._patience.cancel()
            self._transport.close()
            if self._worker is not None:
                self._events.gone(self._worker, reason, list(stderr))

    def _refuse(self, why: object) -> None:
        logger.warning("a worker link was refused: %s", why)
        self.end()

    def _break(self, error: WireError) -> None:
        if self._worker is None:
            self._refuse(error)
        else:
            self.end(f"it broke the protocol: {error}")

    def _hear(self, header: dict[str, Any], body: Body) -> None:
        try:
            if self._worker is None:
                self._greet(header)
            elif header.get("type") == messages.GONE:
                self._gone(self._worker, header)
            else:
                self._hand_on(self._worker, header, body)
        except (KeyError, TypeError, ValueError) as error:  # user code may have written to the stream
            if isinstance(error, WireError):
                self._break(error)
                return
            reason = f"it sent a frame of another form: {error!r}"
            logger.warning("worker %s: %s", self._worker and self._worker.id, reason, exc_info=True)
            self.end(reason)

    def _greet(self, header: dict[str, Any]) -> None:
        if header.get("type") != messages.HELLO or header.get("protocol") != PROTOCOL:
            raise WireError(f"a worker said {header!r:.200} instead of hello in protocol {PROTOCOL}")
        worker = self._events.expected(str(header.get("worker")))
        if worker is None or not _same(worker.token, str(header.get("token"))):
            raise WireError("a worker that was not started here, or with a wrong token")
        self._worker = worker
        self._patience.cancel()
        self._events.connected(worker, WorkerLink(self._transport, self._turn))

    def _gone(self, worker: Worker, header: dict[str, Any]) -> None:
        reason, stderr = str(header.get("reason")), [str(line) for line in header.get("stderr") or ()]
        self._events.unbegun(worker, [str(job) for job in header.get("unbegun") or ()])
        if header.get("hopeless") is True:
            self._events.hopeless(worker, reason, stderr)
        self.end(reason, stderr)

    def _done(self, worker: Worker, header: dict[str, Any], body: Body) -> None:
        if "took" in header:
            worker.pool.pace.took(header["took"] / 1e6)
        if header.get("ends"):
            self._events.retire(worker)
        if held := header.get("held"):
            self._events.holds(worker, held)
        left = Range.parse(header["range"]) if "range" in header else body
        self._events.finished(worker, header["job"], header["attempt"], header.get("error"), left)

    def _said(self, worker: Worker, header: dict[str, Any]) -> None:
        if header["type"] == messages.LOADED:
            self._events.loaded(worker, list(header["modules"]))
        else:
            self._events.progressed(worker, header["job"], header["attempt"], header["progress"])

    def _hand_on(self, worker: Worker, header: dict[str, Any], body: Body) -> None:
        match header.get("type"):
            case messages.DONE:
                self._done(worker, header, body)
            case messages.BEAT:
                self._events.beat(worker)
            case messages.READY:
                self._events.ready(worker, str(header.get("python")))
            case messages.LOG:
                self._events.log(worker, header.get("job"), header["stream"], header["lines"])
            case messages.CHUNK:
                item = Item(bytes(body), plain=bool(header["plain"]))
                self._events.item(worker, header["job"], header["attempt"], item)
            case messages.PROGRESS | messages.LOADED:
                self._said(worker, header)
            case messages.RECORDED | messages.BEGUN | messages.LOAN_OVER:
                self._events.of_loan(worker, header, body)
            case messages.BACK:
                self._events.gave_back(worker, [(job, attempt) for job, attempt in header["jobs"]])
            case messages.STARTED:
                pass
            case other:
                raise WireError(f"a worker sent a frame of type {other!r}")


def _same(token: str, given: str) -> bool:
    return hmac.compare_digest(token.encode(), given.encode("utf-8", "replace"))
