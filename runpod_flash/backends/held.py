"""Requests that a connection makes whose answer may take long, and what comes back; and where the platform is."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from runpod_flash.backends.clients import Address
from runpod_flash.errors import BackendError, FlashError

Locate = Callable[[], Awaitable[Address]]
"""Finds (or starts) the platform. Called for each new connection."""


class Purpose(Enum):
    """What requests are held for. Each has its own bound, so that many of one do not keep others waiting."""

    RESULT = "the result of a job"
    CHUNKS = "the next pieces of a stream"
    BALANCED = "the answer of a load-balanced endpoint"
    UPLOAD = "the next piece of an upload"
    LINES = "what workers write"


@dataclass(frozen=True, slots=True)
class Held:
    """A request whose answer may take long.

    Attributes:
        url: a path of the platform, or a whole URL.
        silence_s: how long the platform may say nothing, in seconds; None: for ever.
        repeat: whether it may be made again after it was sent, when the connection breaks.
        missing: the error that a 404 of the platform means.
        passes: whether an answer with these headers is the endpoint's own and is given as it is, whatever its status.
    """

    purpose: Purpose
    method: str
    url: str
    silence_s: float | None
    content: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    repeat: bool = False
    missing: type[FlashError] = BackendError
    passes: Callable[[int, Mapping[str, str]], bool] = lambda status, headers: False


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a held request. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes
