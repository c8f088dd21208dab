"""The conversation of a client with a worker that is lent to it: the header of every frame, by type.

The worker comes to an address of the client's, an abstract unix socket whose name and tokens only those know who were
told them by the control plane.

worker → client
    hello     loan token worker memory     memory: whether values may lie in shared memory
    done      number size held     body: the encoded result of that call, which gave a value and printed nothing; or its
                                   size, where it lies in the room that the call had. `held`: the worker goes on using
                                   the arguments, which the control plane knows, or may not know
    need      number size          the result has so many bytes, and no room; nothing else is said before the answer
    bye       last                 the loan is over; no call after that one was begun, or will be
client → worker
    welcome   answer               the token by which the worker knows the client
    run       number key range room fresh      body: the encoded arguments, or they lie in a range. Numbers grow by one,
                                   from 1. `room`: a range of the client's for a large result; `fresh`: there may be no
                                   memory behind it yet
    room      number room fresh    the answer to need; without a room where there is none
    read      number               the result of that call, which lay in a room, was read

All ranges are the client's: it keeps arguments and rooms until the worker has said done or bye, or has gone. What gives
no value, prints, or gives more than `LIMIT` and less than `LARGE` is answered by the control plane, as any other job.
What a loan is, is in decision 26.
"""

from typing import Any, Final

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.ids import uuid_of
from worker_runtime.wire.jobs import Call
from worker_runtime.wire.pieces import WHOLE_LIMIT

HELLO, DONE, NEED, BYE = "hello", "done", "need", "bye"
WELCOME, RUN, ROOM, READ = "welcome", "run", "room", "read"

KNOWN, UNKNOWN = "known", "unknown"

LIMIT: Final = 64 * 1024
"""The most bytes of arguments, and of a result, that go in a frame: as much as a socket takes at once."""

LARGE: Final = WHOLE_LIMIT
"""Above so many bytes they lie in shared memory."""

_HEX: Final = "0123456789abcdef"


def job_of(key: str) -> str:
    """The id of the job that was submitted with this key, of those that went directly. Raises WireError."""
    if len(key) != 32 or key.strip(_HEX):
        raise WireError(f"{key!r:.80} is no key of a call to a lent worker; it must be 32 hexadecimal digits")
    return f"{uuid_of(key)}-u1"


def is_plain_call(call: Call) -> bool:
    """Whether nothing more is asked for than a value of a shipped function."""
    special = call.stream or call.plain or call.check or call.inline
    carried = call.instance is not None or call.artifact_data is not None or call.shape is not None
    return bool(call.artifact) and not special and not carried and call.method is None


def head_of(call: Call) -> dict[str, Any]:
    """What a worker needs of such a call before any comes."""
    return {"artifact": call.artifact}
