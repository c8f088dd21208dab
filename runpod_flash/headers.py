"""Which headers of HTTP a program in the middle passes on, each way. Pure.

What is of one connection only stays here, and what its `Connection` header names; so does the length of a body that
comes in chunks. Both would let a request end elsewhere for the next server than for this one.
"""

from collections.abc import Iterable, Sequence
from typing import Final

Raw = Sequence[tuple[bytes, bytes]]
"""Headers as ASGI has them: names in lower case, the same one several times, if it came so."""

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
_HANDSHAKE: Final = b"sec-websocket-"


def onward(headers: Raw, but: frozenset[bytes]) -> list[tuple[str, str]]:
    """Those of a request that go on, without those that `but` names, and those of a websocket's handshake."""
    dropped = _hop_by_hop(headers) | but
    if b"transfer-encoding" in (name for name, _ in headers):
        dropped |= {b"content-length"}  # a client must not send both; the chunks count
    return [
        (name.decode("latin-1"), text_of(value))
        for name, value in headers
        if name not in dropped and not name.startswith(_HANDSHAKE)
    ]


def back(headers: Iterable[tuple[bytes, bytes]], but: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """Those of an answer that go back, without those that `but` names; names in lower case."""
    raw = [(name.lower(), value) for name, value in headers]
    dropped = _hop_by_hop(raw) | but
    return [(name, value) for name, value in raw if name not in dropped]


def value_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """All values of a header, joined by commas; empty where it is absent. `name` is in lower case."""
    return b", ".join(value for key, value in headers if key.lower() == name)


def has_body(headers: Raw) -> bool:
    """Whether a request with these headers has a body."""
    return bool(value_of(headers, b"transfer-encoding")) or value_of(headers, b"content-length") not in (b"", b"0")


def text_of(value: bytes) -> str:
    """Text that becomes the same bytes again where they are UTF-8; else each byte is a Latin-1 character."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _hop_by_hop(headers: Raw) -> frozenset[bytes]:
    named = value_of(headers, b"connection").lower().split(b",")
    return _HOP_BY_HOP | {name.strip() for name in named}
