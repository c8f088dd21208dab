"""Neutral encoding of what the standard library offers for data: numbers, texts, bytes, containers, dates, paths."""

import base64
import collections
import datetime as dt
import decimal
import fractions
import math
import pathlib
import struct
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.neutral_nodes import Decoder, Encoder, Key, Kind, Node, natural, text

_SMALL = 256  # bytes that travel inside the tree

_FACTORIES: dict[str, Callable[[], Any]] = {
    kind.__name__: kind for kind in (bool, bytes, complex, dict, float, int, list, set, str, tuple)
}
"""What a defaultdict may make its values with."""


def _items(make: Callable[[list[Any]], Any]) -> tuple[Callable[[Encoder, Any], list[Node]], Any]:
    return Encoder.nodes, lambda decoder, nodes: make(decoder.values(nodes))


def _text(make: Callable[[str], Any], tell: Callable[[Any], str] = str) -> tuple[Any, Any]:
    return lambda _, value: [tell(value)], lambda _, nodes: make(text(*nodes))


def _encode_members(encoder: Encoder, value: Any) -> list[Node]:
    return [encoder.node(member, f" member {member!r:.40}") for member in value]


def encode_pairs(encoder: Encoder, value: Any) -> list[Node]:
    """The keys and values of a mapping in turn."""
    encoded: list[Node] = []
    for key, item in value.items():
        encoded += (encoder.node(key, f" key {key!r:.40}"), encoder.node(item, Key(key)))
    return encoded


def decode_pairs(decoder: Decoder, nodes: list[Node]) -> dict[Any, Any]:
    """The mapping that `encode_pairs` took apart."""
    found = decoder.values(nodes)
    return dict(zip(found[::2], found[1::2], strict=True))


def _encode_defaults(encoder: Encoder, value: collections.defaultdict[Any, Any]) -> list[Node]:
    factory = value.default_factory
    if factory is None:
        return [None, *encode_pairs(encoder, value)]
    name = getattr(factory, "__name__", "")
    if _FACTORIES.get(name) is not factory:
        raise encoder.refusal(f"is a defaultdict whose values are made by {name or type(factory).__name__}")
    return [name, *encode_pairs(encoder, value)]


def _decode_defaults(decoder: Decoder, nodes: list[Node]) -> Any:
    factory = None if nodes[0] is None else _FACTORIES[nodes[0]]
    return collections.defaultdict(factory, decode_pairs(decoder, nodes[1:]))


def _encode_int(_: Encoder, value: int) -> list[Node]:
    return [f"{value:x}"]  # decimal digits are limited, and take quadratic time


def _encode_float(_: Encoder, value: float) -> list[Node]:
    return [struct.pack("<d", value).hex()]


def _decode_float(_: Decoder, nodes: list[Node]) -> float:
    return float(struct.unpack("<d", bytes.fromhex(text(*nodes)))[0])


def _encode_surrogates(_: Encoder, value: str) -> list[Node]:
    return [base64.b64encode(value.encode(errors="surrogatepass")).decode()]


def _decode_surrogates(_: Decoder, nodes: list[Node]) -> str:
    return base64.b64decode(text(*nodes)).decode(errors="surrogatepass")


def encode_bytes(encoder: Encoder, value: bytes | bytearray | memoryview) -> list[Node]:
    """Bytes: in the tree where they are few, else beside it."""
    return [encoder.buffer(value) if len(value) > _SMALL else base64.b64encode(value).decode()]


def bytes_of(decoder: Decoder, node: Node) -> bytes | memoryview:
    """The bytes that `encode_bytes` put somewhere, not copied."""
    return base64.b64decode(node, validate=True) if isinstance(node, str) else decoder.buffer(node)


def _bytes(make: type[bytes] | type[bytearray]) -> tuple[Any, Any]:
    return encode_bytes, lambda decoder, nodes: make(bytes_of(decoder, *nodes))


def _encode_deque(encoder: Encoder, value: collections.deque[Any]) -> list[Node]:
    return [value.maxlen, *encoder.nodes(value)]


def _decode_deque(decoder: Decoder, nodes: list[Node]) -> Any:
    return collections.deque(decoder.values(nodes[1:]), None if nodes[0] is None else natural(nodes[0]))


def _encode_datetime(encoder: Encoder, value: dt.datetime) -> list[Node]:
    return [*value.timetuple()[:6], value.microsecond, value.fold, encoder.node(value.tzinfo, ".tzinfo")]


def _decode_datetime(decoder: Decoder, nodes: list[Node]) -> dt.datetime:
    *numbers, fold, zone = nodes
    year, month, day, hour, minute, second, micro = map(natural, numbers)
    return dt.datetime(year, month, day, hour, minute, second, micro, decoder.value(zone), fold=natural(fold))


def _encode_time(encoder: Encoder, value: dt.time) -> list[Node]:
    numbers = value.hour, value.minute, value.second, value.microsecond
    return [*numbers, value.fold, encoder.node(value.tzinfo, ".tzinfo")]


def _decode_time(decoder: Decoder, nodes: list[Node]) -> dt.time:
    *numbers, fold, zone = nodes
    hour, minute, second, micro = map(natural, numbers)
    return dt.time(hour, minute, second, micro, decoder.value(zone), fold=natural(fold))


def _encode_timedelta(_: Encoder, value: dt.timedelta) -> list[Node]:
    return [value.days, value.seconds, value.microseconds]


def _decode_timedelta(_: Decoder, nodes: list[Node]) -> dt.timedelta:
    days, seconds, microseconds = nodes
    return dt.timedelta(days, seconds, microseconds)


def _encode_timezone(_: Encoder, value: dt.timezone) -> list[Node]:
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]
    return [offset.days, offset.seconds, offset.microseconds, *name]


def _decode_timezone(_: Decoder, nodes: list[Node]) -> dt.timezone:
    return dt.timezone(dt.timedelta(*nodes[:3]), *map(text, nodes[3:]))


def _encode_zone(encoder: Encoder, value: zoneinfo.ZoneInfo) -> list[Node]:
    if not value.key:
        raise encoder.refusal("is a time zone without a name")
    return [value.key]


def _encode_fraction(encoder: Encoder, value: fractions.Fraction) -> list[Node]:
    return encoder.nodes((value.numerator, value.denominator))


def _decode_fraction(decoder: Decoder, nodes: list[Node]) -> fractions.Fraction:
    numerator, denominator = decoder.values(nodes)
    return fractions.Fraction(numerator, denominator)


def _encode_complex(encoder: Encoder, value: complex) -> list[Node]:
    return encoder.nodes((value.real, value.imag))


def _decode_complex(decoder: Decoder, nodes: list[Node]) -> complex:
    real, imaginary = decoder.values(nodes)
    return complex(real, imaginary)


def _encode_span(encoder: Encoder, value: range | slice) -> list[Node]:
    return encoder.nodes((value.start, value.stop, value.step))


def _span(make: type[range] | type[slice]) -> tuple[Any, Any]:
    return _encode_span, lambda decoder, nodes: make(*decoder.values(nodes))


def _path(decoder: Decoder, nodes: list[Node]) -> pathlib.PurePath:
    kind, path = map(text, nodes)
    kinds: dict[str, Callable[[str], pathlib.PurePath]] = {
        "Path": pathlib.Path, "PurePosixPath": pathlib.PurePosixPath, "PureWindowsPath": pathlib.PureWindowsPath,
    }  # fmt: skip
    if kind not in kinds:
        raise WireError(f"{kind!r:.80} is no kind of path")
    return kinds[kind](path)


def _encode_path(_: Encoder, value: pathlib.PurePath) -> list[Node]:
    return ["Path" if isinstance(value, pathlib.Path) else type(value).__name__, str(value)]


def _kinds() -> dict[type, Kind]:
    own = pathlib.Path()
    return {
        int: Kind("int", _encode_int, lambda _, nodes: int(text(*nodes), 16)),
        float: Kind("float", _encode_float, _decode_float),
        str: Kind("str", _encode_surrogates, _decode_surrogates),
        complex: Kind("complex", _encode_complex, _decode_complex),
        bytes: Kind("bytes", *_bytes(bytes)),
        bytearray: Kind("bytearray", *_bytes(bytearray)),
        list: Kind("list", *_items(list)),
        tuple: Kind("tuple", *_items(tuple)),
        set: Kind("set", _encode_members, lambda decoder, nodes: set(decoder.values(nodes))),
        frozenset: Kind("frozenset", _encode_members, lambda decoder, nodes: frozenset(decoder.values(nodes))),
        dict: Kind("dict", encode_pairs, decode_pairs),
        collections.OrderedDict: Kind(
            "OrderedDict", encode_pairs, lambda decoder, nodes: collections.OrderedDict(decode_pairs(decoder, nodes))
        ),
        collections.Counter: Kind(
            "Counter", encode_pairs, lambda decoder, nodes: collections.Counter(decode_pairs(decoder, nodes))
        ),
        collections.defaultdict: Kind("defaultdict", _encode_defaults, _decode_defaults),
        collections.deque: Kind("deque", _encode_deque, _decode_deque),
        range: Kind("range", *_span(range)),
        slice: Kind("slice", *_span(slice)),
        type(Ellipsis): Kind("...", lambda *_: [], lambda *_: ...),
        dt.datetime: Kind("datetime", _encode_datetime, _decode_datetime),
        dt.date: Kind("date", *_text(dt.date.fromisoformat, dt.date.isoformat)),
        dt.time: Kind("time", _encode_time, _decode_time),
        dt.timedelta: Kind("timedelta", _encode_timedelta, _decode_timedelta),
        dt.timezone: Kind("timezone", _encode_timezone, _decode_timezone),
        zoneinfo.ZoneInfo: Kind("zone", _encode_zone, lambda _, nodes: zoneinfo.ZoneInfo(text(*nodes))),
        decimal.Decimal: Kind("Decimal", *_text(decimal.Decimal)),
        fractions.Fraction: Kind("Fraction", _encode_fraction, _decode_fraction),
        uuid.UUID: Kind("UUID", *_text(uuid.UUID, lambda value: value.hex)),
        **dict.fromkeys((type(own), pathlib.PurePosixPath, pathlib.PureWindowsPath), Kind("path", _encode_path, _path)),
    }


KINDS = _kinds()
"""By the exact type of the value."""


def check_size(shape: list[Node], item: int, data: int) -> None:
    """Raise WireError unless an array of this shape with items of `item` bytes fills `data` bytes exactly."""
    if math.prod(map(natural, shape)) * item != data:
        raise WireError(f"an array of shape {shape!r:.80} with items of {item} bytes does not fill {data} bytes")
