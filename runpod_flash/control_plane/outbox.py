"""What one client has not been told yet, in the order in which it happened: as lines, or as frames of many."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.views import ended_entry
from worker_runtime.wire import calls, frames
from worker_runtime.wire.calls import Buffer
from worker_runtime.wire.jobs import JobStatus, Payload

logger = logging.getLogger(__name__)

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))  # made once: `json.dumps` would make one each time
_ENTRY_BYTES = 128  # about what the end of a job has beside its value


class Render(Protocol):
    """How a job looks from outside."""

    def __call__(self, record: JobRecord, now: float) -> Mapping[str, Any]: ...


class Form(Protocol):
    """How what is told looks on its way."""

    def event(self, text: bytes) -> None:
        """Add an event, which is JSON already."""

    def ended(self, record: JobRecord, text: Callable[[], bytes]) -> int:
        """Add the end of a job; `text` makes the event of it. Gives about how many bytes that takes."""
        ...

    def take(self) -> list[Buffer]:
        """All that was added since the last time, in pieces."""
        ...

    def clear(self) -> None:
        """Forget what was added."""


class Lines:
    """A JSON object a line."""

    def __init__(self) -> None:
        self._lines: list[Buffer] = []

    def event(self, text: bytes) -> None:
        self._lines.append(text + b"\n")

    def ended(self, record: JobRecord, text: Callable[[], bytes]) -> int:
        line = text()
        self.event(line)
        return len(line)

    def take(self) -> list[Buffer]:
        lines, self._lines = self._lines, []
        return lines

    def clear(self) -> None:
        self._lines.clear()


class Frames:
    """Frames of `wire.calls`. What follows each other and is of one kind goes in one frame."""

    def __init__(self) -> None:
        self._groups: list[tuple[str, list[Any], list[bytes]]] = []
        self._late: dict[str, str] = {}  # ids by key, of jobs whose acceptance may be told with their end

    def event(self, text: bytes) -> None:
        self._group(calls.EVENTS)[0].append(text)

    def ended(self, record: JobRecord, text: Callable[[], bytes]) -> int:
        if record.idempotency_key is not None:
            self._late.pop(record.idempotency_key, None)
        value = value_of(record)
        if value is None:
            self.event(event := text())
            return len(event)
        entries, bodies = self._group(calls.ENDED)
        if value.inline is None:
            entries.append(ended_entry(record, _ENCODER.encode(value.to_json())))
            return 2 * _ENTRY_BYTES
        entries.append(ended_entry(record, value.size))
        bodies.append(value.inline)
        return value.size + _ENTRY_BYTES

    def accepted(self, jobs: Sequence[tuple[str, str]], *, later: bool = False) -> None:
        """Add keys and ids of accepted jobs; `later`: when they have ended, or at `release`."""
        if later:
            self._late.update(jobs)
        else:
            self._group(calls.ACCEPTED)[0].extend(jobs)

    def release(self) -> bool:
        """Add what may be told later and was not told yet. Whether there was something."""
        late, self._late = self._late, {}
        if late:
            self.accepted(list(late.items()))
        return bool(late)

    @property
    def holds_back(self) -> bool:
        """Whether something waits for `release`."""
        return bool(self._late)

    def refused(self, keys: Sequence[str], problem: bytes, after: str | None = None) -> None:
        """Add keys of calls that were not accepted, and the problem document that says why.

        `after`: the seconds after which they may come again, as Retry-After has them.
        """
        self._groups.append((calls.REFUSED, [problem, list(keys), after], []))

    def not_lent(self) -> None:
        """Add that no worker is lent."""
        self._groups.append((calls.NOT_LENT, [], []))

    def unknown(self, job_ids: Sequence[str]) -> None:
        """Add ids that are no jobs here."""
        if job_ids:
            self._group(calls.UNKNOWN)[0].extend(job_ids)

    def take(self) -> list[Buffer]:
        groups, self._groups = self._groups, []
        found: list[Buffer] = []
        for kind, entries, bodies in groups:
            found.extend(frames.pieces(_head(kind, entries), bodies))
        return found

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be taken."""
        return not self._groups

    def clear(self) -> None:
        self._groups.clear()
        self._late.clear()

    def _group(self, kind: str) -> tuple[list[Any], list[bytes]]:
        if not self._groups or self._groups[-1][0] != kind or len(self._groups[-1][1]) >= calls.AT_ONCE:
            self._groups.append((kind, [], []))
        return self._groups[-1][1:]


def _head(kind: str, entries: list[Any]) -> bytes:
    if kind == calls.EVENTS:
        return b'{"type":"events","events":[%s]}' % b",".join(entries)
    if kind == calls.ENDED:
        return f'{{"type":"ended","jobs":[{",".join(entries)}]}}'.encode()
    if kind == calls.REFUSED:
        problem, keys, after = entries
        return b'{"type":"refused","problem":%s,"after":%s,"keys":%s}' % (problem, _json(after), _json(keys))
    return b'{"type":"%s","jobs":%s}' % (kind.encode(), _json(entries))


def value_of(record: JobRecord) -> Payload | None:
    """The value that a job gave, None where it gave none."""
    output = record.output
    return output if isinstance(output, Payload) and record.status is JobStatus.COMPLETED else None


class Outbox:
    """Holds back what a client does not read, up to bounds, and says when there is something to be taken.

    A client that does not read loses log lines and stages above `losable_limit` bytes, and is told how many. The ends
    of jobs are never left out: above `jobs_limit` bytes of them it is ended, as if the client had gone.

    Attributes:
        has_ended: whether nothing more comes.
    """

    def __init__(self, form: Form, wake: Callable[[], None], losable_limit: int, jobs_limit: int) -> None:
        """`wake` is called whenever something is added, and at the end."""
        self._form, self._wake = form, wake
        self._losable_limit, self._jobs_limit = losable_limit, jobs_limit
        self._job_bytes = self._losable_bytes = self._lost = 0
        self.has_ended = False

    def ended(self, record: JobRecord, text: Callable[[], bytes]) -> None:
        """The end of a job; `text` makes the event of it."""
        if self.has_ended:
            return
        self._job_bytes += self._form.ended(record, text)
        if self._job_bytes > self._jobs_limit:
            logger.warning("a client does not read its events; its stream is ended")
            self._form.clear()
            self.end()
        self._wake()

    def losable(self, event: Mapping[str, Any]) -> None:
        """Something that a client can do without."""
        if self.has_ended:
            return
        if self._losable_bytes >= self._losable_limit:
            self._lost += 1
            return
        text = event_text(event)
        self._losable_bytes += len(text)
        self._form.event(text)
        self._wake()

    def end(self) -> None:
        """No more comes; what there is can still be taken."""
        self.has_ended = True
        self._wake()

    def take(self) -> list[Buffer]:
        """All that was added since the last time, in pieces."""
        if self._lost:
            message = f"{self._lost} log messages were left out: this program did not read them in time"
            self._form.event(event_text({"event": "notice", "key": "events-lost", "name": "", "message": message}))
        self._job_bytes = self._losable_bytes = self._lost = 0
        return self._form.take()


def event_text(event: Mapping[str, Any]) -> bytes:
    """An event as JSON."""
    return _json(event)


def _json(value: Any) -> bytes:
    return _ENCODER.encode(value).encode()
