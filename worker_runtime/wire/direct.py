"""The conversation of a client with a worker that is lent to it: the header of every frame, by type.

The worker comes to an address of the client's, an abstract unix socket whose name and tokens only those know who were
told them by the control plane.

worker → client
    hello     loan token worker
    done      number               body: the encoded result of that call, which gave a value and printed nothing
    bye       last                 the loan is over; no call after that one was begun, or will be
client → worker
    welcome   answer               the token by which the worker knows the client
    run       number key           body: the encoded arguments. Numbers grow by one, from 1

What gives no value, prints, or gives more than `LIMIT` is answered by the control plane, as any other job. What a loan
is, is in decision 26.
"""

from typing import Any, Final

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.ids import uuid_of
from worker_runtime.wire.jobs import Call

HELLO, DONE, BYE, WELCOME, RUN = "hello", "done", "bye", "welcome", "run"

LIMIT: Final = 64 * 1024
"""The most bytes of arguments, and of a result, that go so: as much as a socket takes at once."""

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
