"""Which headers cross the border to a worker, and which come back. Pure.

A worker sees what the client sent, `Host` included, but: hop-by-hop headers, what names a worker, and `Authorization`,
which is the key of this platform and none of the worker's business. `X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix`
say where the request came in. The client sees what the worker sent but hop-by-hop headers and `Date`, which the server
adds.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from starlette.types import Scope

Raw = Sequence[tuple[bytes, bytes]]
"""Headers as ASGI has them. The same name may come several times."""

REACHED_BELOW: Final = "flash.reached_below"
"""Our key of an ASGI scope: the path below which the worker's own paths are."""

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
_WORKER_ID: Final = b"x-runpod-worker-id"
_FORWARDED: Final = b"x-forwarded-for"
_FORWARDED_PREFIX: Final = b"x-forwarded-prefix"
_NOT_FOR_WORKERS: Final = frozenset(
    {
        b"authorization", b"expect", _FORWARDED, b"x-forwarded-proto", b"x-forwarded-host", _FORWARDED_PREFIX,
        _WORKER_ID, b"x-flash-version", b"x-flash-client",
    }
)  # fmt: skip
_HANDSHAKE: Final = b"sec-websocket-"
_NOT_FOR_CLIENTS: Final = frozenset({b"date", _WORKER_ID})


def value_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """All values of a header, joined by commas; empty where it is absent. `name` is in lower case."""
    return b", ".join(value for key, value in headers if key.lower() == name)


def to_worker(scope: Scope) -> list[tuple[str, str]]:
    """The headers of the request to a worker, from an ASGI scope (http or websocket)."""
    headers: Raw = scope["headers"]
    dropped = _hop_by_hop(headers) | _NOT_FOR_WORKERS
    if b"transfer-encoding" in (name for name, _ in headers):
        dropped |= {b"content-length"}  # a client must not send both; the chunks count
    kept = [
        (name.decode("latin-1"), _text(value))
        for name, value in headers
        if name not in dropped and not name.startswith(_HANDSHAKE)
    ]
    return [*kept, *_forwarded(scope, headers)]


def to_client(headers: Iterable[tuple[bytes, bytes]], worker: str) -> list[tuple[bytes, bytes]]:
    """The headers of the reply of a worker with this id."""
    raw = [(name.lower(), value) for name, value in headers]
    dropped = _hop_by_hop(raw) | _NOT_FOR_CLIENTS
    return [*((name, value) for name, value in raw if name not in dropped), (_WORKER_ID, worker.encode())]


def has_body(headers: Raw) -> bool:
    """Whether a request with these headers has a body."""
    length = value_of(headers, b"content-length")
    return bool(value_of(headers, b"transfer-encoding")) or length not in (b"", b"0")


def declared_size(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """How many bytes a body is announced to have; 0 where that is not said."""
    length = value_of(headers, b"content-length")
    return int(length) if length.isdigit() else 0


def expects_continue(headers: Raw) -> bool:
    """Whether the client sends its body only when it is told to."""
    return value_of(headers, b"expect").lower() == b"100-continue"


def _hop_by_hop(headers: Raw) -> frozenset[bytes]:
    """The standard ones, and those that a `Connection` header names."""
    named = value_of(headers, b"connection").lower().split(b",")
    return _HOP_BY_HOP | {name.strip() for name in named}


def _forwarded(scope: Scope, headers: Raw) -> list[tuple[str, str]]:
    """Where the request came in. The server has decided already whom to believe about the client and the scheme."""
    peer = scope.get("client")
    hops = [_text(value_of(headers, _FORWARDED))]
    if (
        peer and hops[0].split(",")[-1].strip() != peer[0]
    ):  # a server that believes the header has the client from there
        hops.append(peer[0])
    scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
    found = [("X-Forwarded-For", ", ".join(filter(None, hops))), ("X-Forwarded-Proto", scheme)]
    found.append(("X-Forwarded-Host", _text(value_of(headers, b"host"))))
    found.append(("X-Forwarded-Prefix", scope.get(REACHED_BELOW, "")))
    return [(name, value) for name, value in found if value]


def _text(value: bytes) -> str:
    """The value as text that becomes the same bytes again where it is UTF-8; else each byte is a Latin-1 character."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
