"""How a job gets to its worker and is called off there. The dispatcher has decided; the start is on disk."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from runpod_flash.control_plane.artifacts import Artifacts
from runpod_flash.control_plane.fleet import Job, Worker
from runpod_flash.control_plane.results import Values
from runpod_flash.control_plane.shared_values import Memory, NoMemory
from worker_runtime.wire import messages, trace
from worker_runtime.wire.jobs import Call, Payload

_quoted = json.encoder.encode_basestring_ascii

Goods: TypeAlias = Sequence[tuple[str, bytes]]
"""What must be read before a job can be handed over, by name: values (by their sha256), what was sealed."""


class Courier(Protocol):
    """One way to workers."""

    def promise(self, worker: Worker) -> None:
        """The worker will get a job; one `hand_over` or `withdraw` follows."""

    def withdraw(self, worker: Worker) -> None:
        """It will not get it after all."""

    def must_read(self, job: Job) -> bool:
        """Whether something must be read for the job before it can be handed over."""
        ...

    async def read(self, job: Job) -> Goods:
        """Read that. Raises OSError, BackendError."""
        ...

    def hand_over(self, job: Job, worker: Worker, goods: Goods) -> bool:
        """Send the running attempt. False: the worker cannot be reached; the attempt has not begun."""
        ...

    def call_off(self, job: Job, worker: Worker) -> None:
        """Stop the running attempt, which was handed over; its worker is ended where it does not stop."""


class LinkCourier:
    """To workers that run what our SDK ships: frames on their link. The worker itself kills what does not stop.

    Attributes:
        on_stream: called before an attempt is sent that will stream.
        window: how many items and bytes of a call's stream may be unread.
        memory: what is shared with workers.
    """

    def __init__(self, values: Values, artifacts: Artifacts) -> None:
        self._values = values
        self.memory: Memory = NoMemory()
        self._artifacts = artifacts
        self.on_stream: Callable[[Job, Worker], None] = lambda job, worker: None
        self.window: Callable[[Call], tuple[int, int]] = lambda call: (1, 1)

    def promise(self, worker: Worker) -> None: ...

    def withdraw(self, worker: Worker) -> None: ...

    def must_read(self, job: Job) -> bool:
        return job.call is not None and any(not self.memory.shares(name) for name in job.call.values)

    async def read(self, job: Job) -> Goods:
        assert job.call is not None
        return [(name, await self._values.read(name)) for name in job.call.values if not self.memory.shares(name)]

    def hand_over(self, job: Job, worker: Worker, goods: Goods) -> bool:
        if worker.link is None or job.call is None:
            return False
        artifact = job.call.artifact
        data = b"" if artifact in worker.artifacts else self._artifacts.data(artifact)
        for forgotten in worker.uses(artifact):
            worker.link.send({"type": messages.FORGET, "id": forgotten})
        if data:
            worker.link.send({"type": messages.ARTIFACT, "id": artifact}, data)
        sizes, body = self._arguments_of(job.call, worker, goods)
        window = ""
        if job.call.may_stream:
            self.on_stream(job, worker)
            items, size = self.window(job.call)
            window = f',"window":[{items},{size}]'
        head = (
            f'{{"type":"{messages.RUN}","job":{_quoted(job.record.id)},"attempt":{job.attempt},"sizes":[{sizes}]'
            f',"timeout_ms":{job.record.timeout_ms},"call":{_head_of(job.call)}{window}}}'
        )
        trace.mark(trace.GIVEN)
        worker.link.send_whole(head.encode(), body)
        return True

    def call_off(self, job: Job, worker: Worker) -> None:
        if worker.link is not None:
            worker.link.send({"type": messages.CANCEL, "job": job.record.id, "attempt": job.attempt})

    def _arguments_of(self, call: Call, worker: Worker, goods: Goods) -> tuple[str, bytes]:
        """The sizes of a call's payloads, or the names of their ranges, as JSON; and their bytes. Raises OSError."""
        if call.instance is None and call.arguments.inline is not None:
            return str(len(call.arguments.inline)), call.arguments.inline
        values = dict(goods)
        named = [self._bytes_of(payload, values, worker) for payload in call.payloads]
        parts = [part for part in named if not isinstance(part, str)]
        sizes = ",".join([f'"{part}"' if isinstance(part, str) else str(len(part)) for part in named])
        return sizes, parts[0] if len(parts) == 1 else b"".join(parts)

    def _bytes_of(self, payload: Payload, values: Mapping[str, bytes], worker: Worker) -> bytes | str:
        """The bytes of a payload, or the name of the range where the worker reads them. Raises OSError."""
        if payload.inline is not None:
            return payload.inline
        name = payload.name or ""
        if name in values:
            return values[name]
        return name if self.memory.lend(worker.id, name) else self.memory.read_now(name)


def _head_of(call: Call) -> str:
    """What of a call is in the header of its frame, as JSON: what a worker needs of it."""
    instance = None if call.instance is None else call.instance.id
    return _head(call.artifact, call.method, instance, call.stream, call.plain, call.check, call.inline)


_FLAGS: Final = ("stream", "plain", "check", "inline")


@functools.lru_cache(maxsize=1024)  # calls of one function have it in common
def _head(artifact: str, method: str | None, instance: str | None, *flags: bool) -> str:
    head: dict[str, Any] = {"artifact": artifact}
    head |= {name: True for name, value in zip(_FLAGS, flags, strict=True) if value}
    if method is not None:
        head["method"] = method
    if instance is not None:
        head["instance"] = instance
    return json.dumps(head)
