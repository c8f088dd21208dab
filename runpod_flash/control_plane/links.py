"""The control plane's end of the worker link: reads frames and hands them on."""

import asyncio
import hmac
import logging
from typing import Any, Protocol

from runpod_flash.control_plane.fleet import Worker
from worker_runtime.wire import PROTOCOL, frames, messages
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.items import Item
from worker_runtime.wire.ranges import Range

logger = logging.getLogger(__name__)

_HELLO_TIMEOUT_S = 10.0


class WorkerEvents(Protocol):
    """Who wants to know what workers say."""

    def expected(self, worker_id: str) -> Worker | None:
        """The worker that was started under this id."""

    def connected(self, worker: Worker, link: "WorkerLink") -> None: ...

    def ready(self, worker: Worker, python: str) -> None: ...

    def beat(self, worker: Worker) -> None: ...

    def log(self, worker: Worker, job: str | None, stream: str, lines: list[str]) -> None: ...

    def retire(self, worker: Worker) -> None:
        """It takes no more jobs: it is about to end."""

    def item(self, worker: Worker, job: str, attempt: int, item: Item) -> None: ...

    def progressed(self, worker: Worker, job: str, attempt: int, progress: dict[str, Any]) -> None: ...

    def holds(self, worker: Worker, ranges: list[str]) -> None:
        """It still uses these ranges of shared memory, arguments of a call that is about to be finished."""

    def finished(
        self, worker: Worker, job: str, attempt: int, error: dict[str, Any] | None, body: bytes | Range
    ) -> None:
        """`body`: the encoded result, or where that lies."""

    def hopeless(self, worker: Worker, reason: str, stderr: list[str]) -> None: ...

    def gone(self, worker: Worker, reason: str, stderr: list[str]) -> None: ...


class WorkerLink:
    """One open stream to a worker."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Send one frame; a closed stream swallows it, its end is noticed by the reader."""
        if not self._writer.is_closing():
            self._writer.writelines(frames.encode(header, body))

    def close(self) -> None:
        """Close the stream."""
        self._writer.close()


class LinkServer:
    """Listens for workers on a unix socket."""

    def __init__(self, events: WorkerEvents) -> None:
        self._events = events
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()

    async def start(self, path: str) -> None:
        """Listen at `path`. Raises OSError."""
        self._server = await asyncio.start_unix_server(self._accept, path, limit=2**20)

    async def close(self) -> None:
        """Stop listening and close every stream; the workers end."""
        if self._server is not None:
            self._server.close()
        for task in list(self._conversations):
            task.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        try:
            worker = await asyncio.wait_for(self._greet(reader), _HELLO_TIMEOUT_S)
            if worker is not None:
                await self._converse(worker, reader, WorkerLink(writer))
        except (EOFError, TimeoutError, ConnectionError, WireError) as error:
            logger.warning("a worker link was refused: %s", error)
        except asyncio.CancelledError:
            pass  # closing
        finally:
            self._conversations.discard(task)
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader) -> Worker | None:
        header, _ = await frames.read(reader)
        if header.get("type") != messages.HELLO or header.get("protocol") != PROTOCOL:
            raise WireError(f"a worker said {header!r:.200} instead of hello in protocol {PROTOCOL}")
        worker = self._events.expected(str(header.get("worker")))
        if worker is None or not _same(worker.token, str(header.get("token"))):
            raise WireError("a worker that was not started here, or with a wrong token")
        return worker

    async def _converse(self, worker: Worker, reader: asyncio.StreamReader, link: WorkerLink) -> None:
        self._events.connected(worker, link)
        reason, stderr, hopeless = "its link broke", list[str](), False
        try:
            while True:
                header, body = await frames.read(reader)
                if header.get("type") == messages.GONE:
                    reason, stderr = str(header.get("reason")), [str(line) for line in header.get("stderr") or ()]
                    hopeless = header.get("hopeless") is True
                    break
                self._hand_on(worker, header, body)
        except (EOFError, ConnectionError):
            pass
        except (KeyError, TypeError) as error:  # user code may have written to the stream
            reason = f"it sent a frame of another form: {error!r}"
            logger.warning("worker %s: %s", worker.id, reason, exc_info=True)
        except WireError as error:
            reason = f"it broke the protocol: {error}"
        finally:
            link.close()
            if hopeless:
                self._events.hopeless(worker, reason, stderr)
            self._events.gone(worker, reason, stderr)

    def _hand_on(self, worker: Worker, header: dict[str, Any], body: bytes) -> None:
        match header.get("type"):
            case messages.BEAT:
                self._events.beat(worker)
            case messages.READY:
                self._events.ready(worker, str(header.get("python")))
            case messages.LOG:
                self._events.log(worker, header.get("job"), header["stream"], header["lines"])
            case messages.DONE:
                if header.get("ends"):
                    self._events.retire(worker)
                if held := header.get("held"):
                    self._events.holds(worker, held)
                left = Range.parse(header["range"]) if "range" in header else body
                self._events.finished(worker, header["job"], header["attempt"], header.get("error"), left)
            case messages.CHUNK:
                self._events.item(worker, header["job"], header["attempt"], Item(body, plain=bool(header["plain"])))
            case messages.PROGRESS:
                self._events.progressed(worker, header["job"], header["attempt"], header["progress"])
            case messages.STARTED:
                pass
            case other:
                raise WireError(f"a worker sent a frame of type {other!r}")


def _same(token: str, given: str) -> bool:
    return hmac.compare_digest(token.encode(), given.encode("utf-8", "replace"))
