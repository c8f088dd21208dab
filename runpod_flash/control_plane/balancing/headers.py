"""Which headers cross the border to a worker, and which come back. Pure.

A worker sees what the client sent, `Host` included, but: hop-by-hop headers, what names a worker, and `Authorization`,
which is the key of this platform and none of the worker's business. `X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix`
say where the request came in. The client sees what the worker sent but hop-by-hop headers and `Date`, which the server
adds.
"""

from collections.abc import Iterable
from typing import Final

from starlette.types import Scope

from runpod_flash.headers import Raw, back, has_body, onward, text_of, value_of

__all__ = ["REACHED_BELOW", "declared_size", "expects_continue", "has_body", "to_client", "to_worker", "value_of"]

REACHED_BELOW: Final = "flash.reached_below"
"""Our key of an ASGI scope: the path below which the worker's own paths are."""

_WORKER_ID: Final = b"x-runpod-worker-id"
_FORWARDED: Final = b"x-forwarded-for"
_FORWARDED_PREFIX: Final = b"x-forwarded-prefix"
_NOT_FOR_WORKERS: Final = frozenset(
    {
        b"authorization", b"expect", _FORWARDED, b"x-forwarded-proto", b"x-forwarded-host", _FORWARDED_PREFIX,
        _WORKER_ID, b"x-flash-version", b"x-flash-client",
    }
)  # fmt: skip
_NOT_FOR_CLIENTS: Final = frozenset({b"date", _WORKER_ID})


def to_worker(scope: Scope) -> list[tuple[str, str]]:
    """The headers of the request to a worker, from an ASGI scope (http or websocket)."""
    headers: Raw = scope["headers"]
    return [*onward(headers, _NOT_FOR_WORKERS), *_forwarded(scope, headers)]


def to_client(headers: Iterable[tuple[bytes, bytes]], worker: str) -> list[tuple[bytes, bytes]]:
    """The headers of the reply of a worker with this id."""
    return [*back(headers, _NOT_FOR_CLIENTS), (_WORKER_ID, worker.encode())]


def declared_size(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """How many bytes a body is announced to have; 0 where that is not said."""
    length = value_of(headers, b"content-length")
    return int(length) if length.isdigit() else 0


def expects_continue(headers: Raw) -> bool:
    """Whether the client sends its body only when it is told to."""
    return value_of(headers, b"expect").lower() == b"100-continue"


def _forwarded(scope: Scope, headers: Raw) -> list[tuple[str, str]]:
    """Where the request came in. The server has decided already whom to believe about the client and the scheme."""
    peer = scope.get("client")
    hops = [text_of(value_of(headers, _FORWARDED))]
    if (
        peer and hops[0].split(",")[-1].strip() != peer[0]
    ):  # a server that believes the header has the client from there
        hops.append(peer[0])
    scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
    found = [("X-Forwarded-For", ", ".join(filter(None, hops))), ("X-Forwarded-Proto", scheme)]
    found.append(("X-Forwarded-Host", text_of(value_of(headers, b"host"))))
    found.append(("X-Forwarded-Prefix", scope.get(REACHED_BELOW, "")))
    return [(name, value) for name, value in found if value]
