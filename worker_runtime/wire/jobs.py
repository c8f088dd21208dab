"""One call and its outcome, as they travel.

A call is the `input` of a job in Runpod's job API: `{"flash": {...}}` around `Call`. The outcome is the job's `output`:
`{"flash": {"value": ...}}` or `{"flash": {"error": ...}}`. Payloads stay unopened in the control plane.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from worker_runtime.wire import PROTOCOL
from worker_runtime.wire.call_shape import Shape
from worker_runtime.wire.errors import VersionMismatch, WireError
from worker_runtime.wire.fields import optional, require, strings
from worker_runtime.wire.pieces import WHOLE_LIMIT
from worker_runtime.wire.ranges import Range
from worker_runtime.wire.retries import Backoff

INLINE_LIMIT = WHOLE_LIMIT
"""Payloads up to this many bytes travel inside the JSON; larger ones as values named by their sha256."""

PLAIN_LIMIT = 20 * 1024**2
"""The largest result, in bytes of JSON, of a call that came as plain JSON."""


class JobStatus(StrEnum):
    """The states of a job, as Runpod's job API names them."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"

    final: bool
    """Whether a job in this state will not change any more (but for a retry that somebody asks for)."""

    text: str
    """Its name as plain text, which is not looked up as `value` is."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.final = text not in ("IN_QUEUE", "IN_PROGRESS")


class ErrorKind(StrEnum):
    """Whose failure it was. Closed list; the SDK maps each to one exception class."""

    USER = "user"  # the function raised (sys.exit included)
    UNPICKLABLE_RESULT = "unpicklable_result"
    LOAD = "load"  # the shipped code or the arguments could not be loaded on the worker
    INSTALL = "install"  # the environment could not be built
    WORKER_LOST = "worker_lost"  # killed, silent, or it never started
    OUT_OF_MEMORY = "out_of_memory"  # the worker was killed because memory ran out
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    EXPIRED = "expired"
    INFEASIBLE = "infeasible"  # no worker can ever satisfy the endpoint on this platform
    TOO_LARGE = "too_large"  # there is a value, but the way back does not carry one of this size
    PLATFORM = "platform"  # the platform itself failed: disk full, a value lost


@dataclass(frozen=True, slots=True)
class Payload:
    """Encoded bytes: inline, or a value that the platform holds, under its sha256 (`PUT /flash/v1/values/{sha256}`) or,
    on one machine, in a range of shared memory (`ranges`).

    `until`: when a range that has a result may be read without asking, by the machine's monotonic clock in seconds.
    """

    inline: bytes | None = None
    sha256: str | None = None
    size: int = 0
    range: str | None = None
    until: float = 0.0

    @classmethod
    def of(cls, data: bytes) -> "Payload":
        """Describe bytes: inline up to `INLINE_LIMIT`, by hash above."""
        if len(data) <= INLINE_LIMIT:
            return cls.inlined(data)
        return cls(sha256=hashlib.sha256(data).hexdigest(), size=len(data))

    @classmethod
    def in_range(cls, found: Range, until: float = 0.0) -> "Payload":
        """Describe bytes that lie in shared memory."""
        return cls(range=found.name, size=found.size, until=until)

    @property
    def name(self) -> str | None:
        """Under which the platform holds it; None: it is inline."""
        return self.sha256 if self.range is None else self.range

    @classmethod
    def inlined(cls, data: bytes) -> "Payload":
        """Describe bytes that travel inside the JSON, whatever their size."""
        return cls(inline=data, size=len(data))

    def to_json(self) -> dict[str, Any]:
        if self.inline is not None:
            return {"inline": base64.b64encode(self.inline).decode()}
        if self.range is not None:
            return {"range": self.range, "size": self.size, **({"until": self.until} if self.until else {})}
        return {"value": self.sha256, "size": self.size}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Payload":
        """Read what `to_json` wrote. Raises WireError."""
        if "inline" in data:
            return cls.inlined(_from_base64(require(data, "inline", str), "inline"))
        if "range" in data:
            found = Range.parse(require(data, "range", str))
            return cls(range=found.name, size=found.size, until=_number(data, "until") if "until" in data else 0.0)
        sha256 = require(data, "value", str)
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise WireError(f"field 'value' is {sha256!r:.80}; it must be a sha256 in lower-case hexadecimal digits")
        return cls(sha256=sha256, size=require(data, "size", int))


@dataclass(frozen=True, slots=True)
class Instance:
    """The object of a remote class that a method call belongs to: its id, and how to construct it anew."""

    id: str
    constructor: Payload  # an encoded (args, kwargs)

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "constructor": self.constructor.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Instance":
        return cls(id=require(data, "id", str), constructor=Payload.from_json(require(data, "constructor", dict)))


@dataclass(frozen=True, slots=True)
class Call:
    """What shall run: an artifact (by id), its method and instance if it is a class, and the encoded (args, kwargs).

    At an endpoint with code of its own `artifact` may be empty: that code runs. With `plain`, which only the platform
    sets, `arguments` are the job's plain input as JSON, and the result is JSON, too. With `check` nothing is called:
    the code is loaded, and of a class the object is made that plain calls share.
    Where a platform has no place for artifacts and values, a call carries them: `artifact_data` are the artifact's own
    bytes, once for each endpoint; payloads are inline whatever their size; and `inline` asks for such a result.
    `shape` says which parameters it fills, where it goes to code that its caller has not brought.
    With `stream`, what is called is a generator, and each item that it yields is a chunk of the job's stream (`items`).
    """

    artifact: str
    arguments: Payload
    method: str | None = None
    instance: Instance | None = None
    retries: int | None = None  # None: a lost worker once, the function's exceptions never; n: both up to n times
    backoff: Backoff | None = None  # None: after any exception, at once
    artifact_data: bytes | None = field(default=None, repr=False)
    inline: bool = False
    stream: bool = False
    plain: bool = False
    check: bool = False
    shape: Shape | None = None

    def to_input(self) -> dict[str, Any]:
        """The `input` of the job."""
        body = {**self.head(), "arguments": self.arguments.to_json()}
        if self.instance is not None:
            body["instance"] = self.instance.to_json()
        return {"flash": body}

    def head(self) -> dict[str, Any]:
        """All of it but its payloads, which travel as bytes beside it: `instance` is the object's id alone."""
        body: dict[str, Any] = {"protocol": PROTOCOL, "artifact": self.artifact}
        if self.method is not None:
            body["method"] = self.method
        if self.instance is not None:
            body["instance"] = self.instance.id
        if self.retries is not None:
            body["retries"] = self.retries
        if self.backoff is not None:
            body["backoff"] = self.backoff.to_json()
        if self.artifact_data is not None:
            body["artifact_data"] = base64.b64encode(self.artifact_data).decode()
        for name in ("inline", "stream", "plain", "check"):
            if getattr(self, name):
                body[name] = True
        if self.shape is not None:
            body["shape"] = self.shape.to_json()
        return body

    @classmethod
    def from_input(cls, data: Mapping[str, Any]) -> "Call":
        """Read the `input` of a job. Raises WireError, VersionMismatch."""
        body = require(data, "flash", dict)
        check_protocol(body)
        instance, check = optional(body, "instance", dict), require(body, "check", bool, default=False)
        arguments = optional(body, "arguments", dict) if check else require(body, "arguments", dict)
        return cls._of(
            body,
            Payload.from_json(arguments) if arguments is not None else Payload.inlined(b""),
            Instance.from_json(instance) if instance is not None else None,
        )

    @classmethod
    def of_head(cls, head: Mapping[str, Any], arguments: Payload, constructor: Payload | None = None) -> "Call":
        """Read what `head` wrote; the payloads came beside it. Raises WireError, VersionMismatch."""
        check_protocol(head)
        instance = optional(head, "instance", str)
        if (instance is None) is not (constructor is None):
            raise WireError("a call has an object and no arguments of its constructor, or those and no object")
        known = None if instance is None or constructor is None else Instance(instance, constructor)
        return cls._of(head, arguments, known)

    @classmethod
    def _of(cls, body: Mapping[str, Any], arguments: Payload, instance: Instance | None) -> "Call":
        artifact_data, backoff = optional(body, "artifact_data", str), optional(body, "backoff", dict)
        shape = optional(body, "shape", dict)
        return cls(
            artifact=require(body, "artifact", str, default=""),
            arguments=arguments,
            method=optional(body, "method", str),
            instance=instance,
            retries=optional(body, "retries", int),
            backoff=Backoff.from_json(backoff) if backoff is not None else None,
            artifact_data=_from_base64(artifact_data, "artifact_data") if artifact_data is not None else None,
            inline=require(body, "inline", bool, default=False),
            stream=require(body, "stream", bool, default=False),
            plain=require(body, "plain", bool, default=False),
            check=require(body, "check", bool, default=False),
            shape=Shape.from_json(shape) if shape is not None else None,
        )

    def with_arguments(self, arguments: Payload) -> "Call":
        """The same call of other arguments. `dataclasses.replace` takes four times as long."""
        return Call(
            self.artifact,
            arguments,
            self.method,
            self.instance,
            self.retries,
            self.backoff,
            self.artifact_data,
            self.inline,
            self.stream,
            self.plain,
            self.check,
            self.shape,
        )

    @property
    def may_stream(self) -> bool:
        """Whether items may come before its end: it asks for them, or takes them where a plain call gives some."""
        return self.stream or self.plain

    @property
    def values(self) -> tuple[str, ...]:
        """The name of each value that must be at the platform before the call can run."""
        if self.instance is None and self.arguments.sha256 is None and self.arguments.range is None:  # most calls
            return ()
        return tuple(payload.name for payload in self.payloads if payload.name is not None)

    @property
    def payloads(self) -> tuple[Payload, ...]:
        """Its arguments, and those of its object's constructor, if it has one."""
        return (self.arguments,) if self.instance is None else (self.arguments, self.instance.constructor)


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """A failure as data. `exception` is the encoded exception object where it could be pickled.

    `bases` are the qualified names of the classes that the exception's class derives from, the nearest first.
    """

    kind: ErrorKind
    type: str  # qualified name, e.g. "ValueError" or "__main__.Oops"
    message: str
    traceback: str = ""
    exception: bytes | None = field(default=None, repr=False)
    bases: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The exception's class and those it derives from, by name."""
        return (self.type, *self.bases)

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "kind": self.kind,
            "type": self.type,
            "message": self.message,
            "traceback": self.traceback,
        }
        if self.exception is not None:
            data["exception"] = base64.b64encode(self.exception).decode()
        if self.bases:
            data["bases"] = list(self.bases)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ErrorInfo":
        """Read what `to_json` wrote. Raises WireError."""
        kind, exception = require(data, "kind", str), optional(data, "exception", str)
        if kind not in list(ErrorKind):
            raise WireError(f"field 'kind' is {kind!r}; it must be one of {', '.join(ErrorKind)}")
        return cls(
            kind=ErrorKind(kind),
            type=require(data, "type", str),
            message=require(data, "message", str),
            traceback=require(data, "traceback", str, default=""),
            exception=_from_base64(exception, "exception") if exception is not None else None,
            bases=strings(data, "bases"),
        )


@dataclass(frozen=True, slots=True)
class Streamed:
    """The end of a stream of so many items, which are not part of it."""

    items: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running call says to be: `done` of `total` (None: not known), in whatever unit, and words."""

    done: float
    total: float | None = None
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"done": self.done, "total": self.total, "message": self.message}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Progress":
        """Read what `to_json` wrote. Raises WireError."""
        done, total = _number(data, "done"), data.get("total")
        return cls(done, None if total is None else _number(data, "total"), require(data, "message", str, default=""))


def check_protocol(body: Mapping[str, Any]) -> None:
    """Raise VersionMismatch where a call, or its head, is of another protocol; WireError where it says none."""
    protocol = require(body, "protocol", int)
    if protocol != PROTOCOL:
        raise VersionMismatch(
            f"the call has protocol {protocol}, this side speaks {PROTOCOL}; use one version on both sides"
        )


def value_output(payload: Payload) -> dict[str, Any]:
    """The `output` of a job that gave a value."""
    return {"flash": {"value": payload.to_json()}}


def stream_output(items: int) -> dict[str, Any]:
    """The `output` of a job whose items, so many, are the chunks of its stream."""
    return {"flash": {"items": items}}


def checked_output() -> dict[str, Any]:
    """The `output` of a job that was a check, and found the code in order."""
    return {"flash": {"checked": True}}


def error_output(error: ErrorInfo) -> dict[str, Any]:
    """The `output` of a job that failed."""
    return {"flash": {"error": error.to_json()}}


def read_output(output: Any) -> Payload | ErrorInfo | Streamed:
    """Read the `output` of a finished job. Raises WireError where a function of ours did not write it."""
    if isinstance(output, Payload):
        return output
    body = require(output if isinstance(output, dict) else {}, "flash", dict)
    if "error" in body:
        return ErrorInfo.from_json(require(body, "error", dict))
    if "items" in body:
        return Streamed(require(body, "items", int))
    return Payload.from_json(require(body, "value", dict))


def _from_base64(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise WireError(f"field '{name}' is no base64 text") from error


def _number(data: Mapping[str, Any], name: str) -> float:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WireError(f"field '{name}' is {value!r:.80}; it must be a number")
    return value
