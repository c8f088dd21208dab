"""Which headers cross the dev server, each way. Pure.

The target sees what the client sent, but for what is of one connection only, and with the target's key instead of the
client's. The client sees what the target sent.
"""

from collections.abc import Iterable, Sequence
from typing import Final

Raw = Sequence[tuple[bytes, bytes]]
"""Headers as ASGI has them: names in lower case, the same one several times, if it came so."""

WORKER: Final = b"x-runpod-worker-id"

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
_NOT_FOR_THE_TARGET: Final = frozenset({b"authorization", b"expect", b"host", b"x-flash-client", b"x-flash-project"})
_HANDSHAKE: Final = b"sec-websocket-"
_NOT_FOR_CLIENTS: Final = frozenset({b"date", b"server"})


def to_target(headers: Raw, added: Iterable[tuple[str, str]], *, host: str = "") -> list[tuple[str, str]]:
    """The headers of the request to the target; `host`: what its Host says, "" leaves that to the client's library."""
    dropped = _hop_by_hop(headers) | _NOT_FOR_THE_TARGET
    if b"transfer-encoding" in (name for name, _ in headers):
        dropped |= {b"content-length"}  # a client must not send both; the chunks count
    kept = [
        (name.decode("latin-1"), _text(value))
        for name, value in headers
        if name not in dropped and not name.startswith(_HANDSHAKE)
    ]
    return [*kept, *([("Host", host)] if host else []), *added]


def to_client(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of the answer."""
    raw = [(name.lower(), value) for name, value in headers]
    dropped = _hop_by_hop(raw) | _NOT_FOR_CLIENTS
    return [(name, value) for name, value in raw if name not in dropped]


def value_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """The first value of a header, "" where it is absent. `name` is in lower case."""
    return next((_text(value) for key, value in headers if key.lower() == name), "")


def has_body(headers: Raw) -> bool:
    """Whether a request with these headers has a body."""
    return bool(value_of(headers, b"transfer-encoding")) or value_of(headers, b"content-length") not in ("", "0")


def _hop_by_hop(headers: Raw) -> frozenset[bytes]:
    """The usual ones, and those that a `Connection` header names."""
    named = ",".join(_text(value) for name, value in headers if name == b"connection").lower().split(",")
    return _HOP_BY_HOP | {name.strip().encode("latin-1", "replace") for name in named if name.strip()}


def _text(value: bytes) -> str:
    """Text that becomes the same bytes again where they are UTF-8; else each byte is a Latin-1 character."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
