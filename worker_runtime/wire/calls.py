"""The conversation of a client with its control plane: the header of every frame, by type.

On a socket of its own the client says hello and is welcomed; over HTTP the request says who comes, and the control
plane's frames are in its answer and on the event stream.

client → control plane
    hello     protocol key client
    submit    endpoint call options fresh later jobs     body: the arguments of the calls, one after the other
                                   `call` is what is inside `Call.to_input()`, without arguments; the constructor of its
                                   instance may be a number of bytes, with which the body begins. `options` are the
                                   other fields of a job's body. `jobs` is [[key, size], …]; where arguments are not in
                                   the body, what describes them (`Payload.to_json()`) stands for the size.
                                   `fresh`: no key was sent before. `later`: acceptance may be told with the end
    watch     jobs                 ids: they shall be announced here; those that have ended are told at once
    cancel    jobs                 ids
    ask       endpoint call job address token answer      a worker for itself (`direct`), who ran this job, the last of
                                   such calls; it finds this client at the address, says the token and hears the answer
    begun     as submit, with one job; loan number        it was given to a worker that is lent, as that loan's call of
                                   this number, and nothing was heard since
control plane → client
    welcome   protocol version pickles …      what `GET /flash/v1/capabilities` says
    accepted  jobs                 [[key, id], …]: they are on disk
    refused   keys problem after   none of these was accepted, and why: a problem document (`after`: its Retry-After)
    ended     jobs                 body: the values, one after the other; `jobs` is [[key, id, size, worker, retries,
                                   delay, execution], …], times in milliseconds; `key` is null where it had none. For a
                                   value that is not in the body, what describes it stands for the size
    events    events               what the lines of the event stream say: stages, output, notices; and ends that give
                                   no value inside (`job`, with its `key`)
    unknown   jobs                 ids that were watched or cancelled, and are no jobs here
    not_lent                       the answer to ask, where no worker comes
    beat

Frames of other types are left alone, so that either side may be newer.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from worker_runtime.wire import PROTOCOL, direct, frames
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.fields import require
from worker_runtime.wire.frames import Header
from worker_runtime.wire.jobs import Call, Instance, Payload

HELLO, SUBMIT, WATCH, CANCEL, ASK, BEGUN = "hello", "submit", "watch", "cancel", "ask", "begun"
WELCOME, ACCEPTED, REFUSED, ENDED, EVENTS = "welcome", "accepted", "refused", "ended", "events"
UNKNOWN, NOT_LENT, BEAT = "unknown", "not_lent", "beat"

MEDIA_TYPE: Final = "application/x-flash-frames"
"""How HTTP calls a body of such frames."""

AT_ONCE: Final = 1000
"""The most calls of one frame."""

FRAME_BYTES: Final = 4 * 1024**2
"""About how many bytes of arguments one frame has."""

ID_LIMIT: Final = 255
"""The longest key, in characters."""

_NOTHING: Final = Payload.inlined(b"")

Buffer = bytes | bytearray | memoryview
Sent = tuple[str, Payload]
"""A call of a pattern: its key and its arguments."""


class Pattern:
    """What many calls have in common: where they go, all of the call but its arguments, and the job's options.

    Attributes:
        endpoint: the endpoint's id.
        call: a call without arguments.
        goes_directly: whether a worker can be asked for that takes such calls alone (`direct`).
    """

    __slots__ = ("_constructor", "_text", "call", "endpoint", "goes_directly")

    def __init__(self, endpoint: str, call: Call, options: Mapping[str, Any]) -> None:
        """`options`: the other fields of a job's body (`policy`, `webhook`, `s3Config`)."""
        self.endpoint, self.call = endpoint, call
        self.goes_directly = not options and direct.is_plain_call(call)
        body = dict(replace(call, arguments=_NOTHING).to_input()["flash"])
        del body["arguments"]
        self._constructor = b""
        instance = call.instance
        if instance is not None and instance.constructor.inline is not None:
            self._constructor = instance.constructor.inline
            body["instance"] = {"id": instance.id, "constructor": len(self._constructor)}
        shared = {"endpoint": endpoint, "call": body, "options": dict(options)}
        self._text = json.dumps(shared, separators=(",", ":"))[1:-1]

    def ask(self, fields: Mapping[str, str]) -> list[Buffer]:
        """The frame that asks for a worker for such calls; `fields` are its others."""
        more = json.dumps({"type": ASK, **fields}, separators=(",", ":"))[1:-1]
        return frames.pieces(f'{{{more},{self._text},"jobs":[]}}'.encode(), [])

    def begun(self, key: str, payload: Payload, loan: str, number: int) -> list[Buffer]:
        """The frame that tells of a call which a lent worker was given."""
        flags = f'"fresh":false,"later":false,"loan":{json.dumps(loan)},"number":{number}'
        head = f'{{"type":"{BEGUN}",{self._text},{flags},"jobs":[{_job(key, payload)}]}}'
        return frames.pieces(head.encode(), [] if payload.inline is None else [payload.inline])

    def frames(self, sent: Sequence[Sent], *, fresh: bool, later: bool) -> list[Buffer]:
        """The frames that submit these calls, in pieces to be written in order."""
        found: list[Buffer] = []
        for some in _portions(sent):
            flags = f'"fresh":{_JSON[fresh]},"later":{_JSON[later]}'
            jobs = ",".join([_job(key, payload) for key, payload in some])
            head = f'{{"type":"submit",{self._text},{flags},"jobs":[{jobs}]}}'
            bodies = [payload.inline for _, payload in some if payload.inline is not None]
            found.extend(frames.pieces(head.encode(), [self._constructor, *bodies]))
        return found


_JSON: Final = {True: "true", False: "false"}


def _job(key: str, payload: Payload) -> str:
    if key.isascii() and key.isalnum():  # as ours are; formatting is much quicker than encoding JSON
        if payload.inline is not None:
            return f'["{key}",{payload.size}]'
        if payload.range is not None and not payload.until:
            return f'["{key}",{{"range":"{payload.range}","size":{payload.size}}}]'
    return json.dumps([key, payload.size if payload.inline is not None else payload.to_json()], separators=(",", ":"))


def _portions(sent: Sequence[Sent]) -> Iterator[Sequence[Sent]]:
    if len(sent) == 1:
        yield sent
        return
    start, size = 0, 0
    for number, (_, payload) in enumerate(sent):
        own = payload.size if payload.inline is not None else 0
        if number > start and (number - start >= AT_ONCE or size + own > FRAME_BYTES):
            yield sent[start:number]
            start, size = number, 0
        size += own
    yield sent[start:]


@dataclass(frozen=True, slots=True)
class Submit:
    """A submit frame as the control plane reads it. `call` has no arguments; `jobs` are keys and arguments."""

    endpoint: str
    call: Call
    options: Mapping[str, Any]
    jobs: Sequence[Sent]
    fresh: bool = False
    later: bool = False


@dataclass(slots=True)
class SubmitReader:
    """Reads submit frames; what one has in common with the one before it is looked at once."""

    _known: Mapping[str, Any] | None = None
    _call: Call = field(default_factory=lambda: Call("", _NOTHING))

    def read(self, header: Header, body: Buffer) -> Submit:
        """Read a submit frame. Raises WireError, VersionMismatch."""
        given, jobs = require(header, "call", dict), require(header, "jobs", list)
        constructor = _constructor_size(given)
        call, start = self._template(given), 0
        if constructor is not None:
            start = constructor
            call = replace(call, instance=_rebuilt(call, bytes(body[:constructor])))
        return Submit(
            endpoint=require(header, "endpoint", str),
            call=call,
            options=require(header, "options", dict, default={}),
            jobs=_sent(jobs, body, start),
            fresh=require(header, "fresh", bool, default=False),
            later=require(header, "later", bool, default=False),
        )

    def _template(self, given: Mapping[str, Any]) -> Call:
        if given != self._known:
            body = {**given, "arguments": _NOTHING.to_json()}
            if _constructor_size(given) is not None:
                body["instance"] = {**given["instance"], "constructor": _NOTHING.to_json()}
            self._call = Call.from_input({"flash": body})
            self._known = given
        return self._call


def _constructor_size(given: Mapping[str, Any]) -> int | None:
    """How many bytes of the body are the constructor's; None: there is none, or it is elsewhere. Raises WireError."""
    instance = given.get("instance")
    size = instance.get("constructor") if isinstance(instance, Mapping) else None
    return _size(size) if isinstance(size, int) else None


def _rebuilt(call: Call, constructor: bytes) -> Instance:
    assert call.instance is not None
    return Instance(call.instance.id, Payload.inlined(constructor))


def _sent(jobs: list[Any], body: Buffer, start: int) -> list[Sent]:
    """Keys and arguments. Raises WireError where they are none, or the body has another length."""
    found: list[Sent] = []
    for each in jobs:
        if not isinstance(each, list) or len(each) != 2 or not is_key(each[0]):
            raise WireError(f"field 'jobs' has {each!r:.80}; it must hold pairs of a key (1 to {ID_LIMIT} characters) "
                            "and the size of its arguments")  # fmt: skip
        key, size = each
        if isinstance(size, dict):
            found.append((key, Payload.from_json(size)))
            continue
        end = start + _size(size)
        data = body[start:end]
        found.append((key, Payload.inlined(data if isinstance(data, bytes) else bytes(data))))
        start = end
    if start != len(body):
        raise WireError(f"the arguments of a submit frame have {start} bytes by their sizes, its body has {len(body)}")
    return found


def _size(value: object) -> int:
    if type(value) is not int or value < 0:
        raise WireError(f"{value!r:.80} is no size; it must be a number of bytes, 0 or more")
    return value


def is_key(value: object) -> bool:
    """Whether this can be the key of a call, or the id of a job."""
    return isinstance(value, str) and 1 <= len(value) <= ID_LIMIT and value.isprintable()


def hello(key: str, client: str) -> Header:
    """The first frame of a client on a socket."""
    return {"type": HELLO, "protocol": PROTOCOL, "key": key, "client": client}


def ids_of(header: Header) -> list[str]:
    """The field `jobs` of a frame that has ids there. Raises WireError."""
    jobs = require(header, "jobs", list)
    if not all(is_key(each) for each in jobs):
        raise WireError(f"field 'jobs' is {jobs!r:.80}; it must be a list of the ids of jobs")
    return jobs
