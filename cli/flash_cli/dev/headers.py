"""Which headers cross the dev server, each way. Pure.

The target sees what the client sent, but for what is of one connection only, and with the target's key instead of the
client's. The client sees what the target sent.
"""

from collections.abc import Iterable
from typing import Final

from runpod_flash.headers import Raw, back, has_body, onward, text_of

__all__ = ["WORKER", "has_body", "to_client", "to_target", "value_of"]

WORKER: Final = b"x-runpod-worker-id"

_NOT_FOR_THE_TARGET: Final = frozenset({b"authorization", b"expect", b"host", b"x-flash-client", b"x-flash-project"})
_NOT_FOR_CLIENTS: Final = frozenset({b"date", b"server"})


def to_target(headers: Raw, added: Iterable[tuple[str, str]], *, host: str = "") -> list[tuple[str, str]]:
    """The headers of the request to the target; `host`: what its Host says, "" leaves that to the client's library."""
    return [*onward(headers, _NOT_FOR_THE_TARGET), *([("Host", host)] if host else []), *added]


def to_client(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of the answer."""
    return back(headers, _NOT_FOR_CLIENTS)


def value_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """The first value of a header, "" where it is absent. `name` is in lower case."""
    return next((text_of(value) for key, value in headers if key.lower() == name), "")
