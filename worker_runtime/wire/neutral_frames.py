"""Neutral encoding of pandas' frames, series, indexes and scalars: their columns are arrays, in raw buffers.

Columns of numpy's dtypes, times with time zones, categories, nullable numbers and texts travel; others are refused.
"""

import importlib
import sys
from typing import Any

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.neutral_nodes import Decoder, Encoder, Kind, Node

_NULLABLE = frozenset(
    {"boolean", "Float32", "Float64", *(f"{name}{bits}" for name in ("Int", "UInt") for bits in (8, 16, 32, 64))}
)


def pandas_kind(value: Any) -> Kind | None:
    """The kind of one of pandas' objects, None where it has none."""
    pandas = sys.modules["pandas"]
    exact = {
        pandas.DataFrame: _FRAME,
        pandas.Series: _SERIES,
        pandas.RangeIndex: _RANGE,
        pandas.MultiIndex: _MULTI,
        pandas.Timestamp: _TIMESTAMP,
        pandas.Timedelta: _TIMEDELTA,
        type(pandas.NaT): _MISSING,
        type(pandas.NA): _MISSING,
    }
    if type(value) in exact:
        return exact[type(value)]
    if isinstance(value, pandas.Index):
        return _INDEX
    return _COLUMN if isinstance(value, pandas.api.extensions.ExtensionArray) else None


def _pandas() -> Any:
    return importlib.import_module("pandas")


def _values(value: Any) -> Any:
    """What a series or an index holds: numpy's array, or one of pandas' own."""
    return value.to_numpy() if isinstance(value.dtype, sys.modules["numpy"].dtype) else value.array


# --- columns that are not numpy's -------------------------------------------------------------------------------------


def _encode_column(encoder: Encoder, value: Any) -> list[Node]:
    """An array of pandas: its form, then what it is made of."""
    pandas, dtype = sys.modules["pandas"], value.dtype
    if isinstance(dtype, pandas.CategoricalDtype):
        return ["categories", bool(value.ordered), *encoder.nodes([value.categories, value.codes])]
    if isinstance(dtype, pandas.DatetimeTZDtype):
        return ["zoned", *encoder.nodes([_zone(dtype.tz), pandas.DatetimeIndex(value).tz_convert(None).to_numpy()])]
    if isinstance(dtype, pandas.StringDtype):
        missing = getattr(dtype, "na_value", pandas.NA)
        texts = [None if gone else str(item) for item, gone in zip(value, value.isna(), strict=True)]
        return ["texts", "NA" if missing is pandas.NA else "nan", *encoder.nodes(texts)]
    if dtype.name in _NULLABLE:
        plain = value.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        return [dtype.name, *encoder.nodes([plain, value.isna()])]
    if isinstance(getattr(dtype, "numpy_dtype", dtype), sys.modules["numpy"].dtype):
        return ["plain", encoder.node(value.to_numpy())]
    raise encoder.refusal(f"has the dtype {dtype}; convert it to one of numpy's, a category or text")


def _decode_column(decoder: Decoder, nodes: list[Node]) -> Any:
    pandas = _pandas()
    form, *parts = nodes
    if form == "texts":
        dtype = _text_dtype(pandas, parts[0])
        return pandas.array([pandas.NA if item is None else item for item in decoder.values(parts[1:])], dtype=dtype)
    if form == "categories":
        categories, codes = decoder.values(parts[1:])
        return pandas.Categorical.from_codes(codes, categories=categories, ordered=parts[0] is True)
    values = decoder.values(parts)
    if form == "zoned":
        return pandas.DatetimeIndex(values[1]).tz_localize("UTC").tz_convert(values[0]).array
    if form == "plain":
        return pandas.Series(values[0], dtype=values[0].dtype).array
    if form not in _NULLABLE:
        raise WireError(f"{form!r:.80} is no form of a column")
    plain, mask = values
    kinds = pandas.arrays
    kind = kinds.BooleanArray if form == "boolean" else kinds.FloatingArray if "Float" in form else kinds.IntegerArray
    return kind(plain, mask)


def _text_dtype(pandas: Any, missing: Node) -> Any:
    if missing != "NA":
        try:
            return pandas.StringDtype(na_value=float("nan"))  # since pandas 2.3
        except TypeError:
            pass
    return pandas.StringDtype()


def _zone(zone: Any) -> Any:
    """A time zone as it travels: by its name where it has one, for pandas has had zones of several makers."""
    return getattr(zone, "key", None) or getattr(zone, "zone", None) or zone


# --- frames, series, indexes ------------------------------------------------------------------------------------------


def _encode_frame(encoder: Encoder, value: Any) -> list[Node]:
    outer = [encoder.node(value.index, ".index"), encoder.node(value.columns, ".columns")]
    outer.append(encoder.node(value.attrs, ".attrs"))
    names = enumerate(value.columns)
    return outer + [encoder.node(_values(value.iloc[:, place]), f"[{name!r:.40}]") for place, name in names]


def _decode_frame(decoder: Decoder, nodes: list[Node]) -> Any:
    pandas = _pandas()
    index, names, attributes, *columns = decoder.values(nodes)
    series = {place: pandas.Series(one, index=index, dtype=one.dtype) for place, one in enumerate(columns)}
    made = pandas.DataFrame(series, index=index)
    made.columns = names
    made.attrs = attributes
    return made


def _encode_series(encoder: Encoder, value: Any) -> list[Node]:
    outer = [
        encoder.node(value.index, ".index"),
        encoder.node(value.name, ".name"),
        encoder.node(value.attrs, ".attrs"),
    ]
    return [*outer, encoder.node(_values(value))]


def _decode_series(decoder: Decoder, nodes: list[Node]) -> Any:
    index, name, attributes, values = decoder.values(nodes)
    made = _pandas().Series(values, index=index, dtype=values.dtype, name=name)
    made.attrs = attributes
    return made


def _encode_range(encoder: Encoder, value: Any) -> list[Node]:
    return encoder.nodes([value.start, value.stop, value.step, value.name])


def _decode_range(decoder: Decoder, nodes: list[Node]) -> Any:
    start, stop, step, name = decoder.values(nodes)
    return _pandas().RangeIndex(start, stop, step, name=name)


def _encode_multi(encoder: Encoder, value: Any) -> list[Node]:
    return encoder.nodes([list(value.names), list(value.levels), [codes.tolist() for codes in value.codes]])


def _decode_multi(decoder: Decoder, nodes: list[Node]) -> Any:
    names, levels, codes = decoder.values(nodes)
    return _pandas().MultiIndex(levels=levels, codes=codes, names=names)


def _encode_index(encoder: Encoder, value: Any) -> list[Node]:
    return [encoder.node(value.name, ".name"), getattr(value, "freqstr", None), encoder.node(_values(value))]


def _decode_index(decoder: Decoder, nodes: list[Node]) -> Any:
    name, rhythm, values = decoder.value(nodes[0]), nodes[1], decoder.value(nodes[2])
    made = _pandas().Index(values, dtype=values.dtype, name=name)
    if rhythm is not None:
        try:
            made.freq = rhythm
        except (TypeError, ValueError):  # another version's word for it; it says nothing that the values do not
            made.freq = None
    return made


# --- scalars ----------------------------------------------------------------------------------------------------------


def _encode_timestamp(encoder: Encoder, value: Any) -> list[Node]:
    return encoder.nodes([value.asm8, _zone(value.tz)])


def _decode_timestamp(decoder: Decoder, nodes: list[Node]) -> Any:
    moment, zone = decoder.values(nodes)
    made = _pandas().Timestamp(moment)
    return made if zone is None else made.tz_localize("UTC").tz_convert(zone)


def _encode_timedelta(encoder: Encoder, value: Any) -> list[Node]:
    return [encoder.node(value.asm8)]


def _decode_timedelta(decoder: Decoder, nodes: list[Node]) -> Any:
    return _pandas().Timedelta(*decoder.values(nodes))


def _encode_missing(_: Encoder, value: Any) -> list[Node]:
    return ["NaT" if value is sys.modules["pandas"].NaT else "NA"]


def _decode_missing(_: Decoder, nodes: list[Node]) -> Any:
    return _pandas().NaT if nodes == ["NaT"] else _pandas().NA


_FRAME = Kind("pandas.frame", _encode_frame, _decode_frame)
_SERIES = Kind("pandas.series", _encode_series, _decode_series)
_RANGE = Kind("pandas.range", _encode_range, _decode_range)
_MULTI = Kind("pandas.multi", _encode_multi, _decode_multi)
_INDEX = Kind("pandas.index", _encode_index, _decode_index)
_COLUMN = Kind("pandas.column", _encode_column, _decode_column)
_TIMESTAMP = Kind("pandas.timestamp", _encode_timestamp, _decode_timestamp)
_TIMEDELTA = Kind("pandas.timedelta", _encode_timedelta, _decode_timedelta)
_MISSING = Kind("pandas.missing", _encode_missing, _decode_missing)
KINDS = (_FRAME, _SERIES, _RANGE, _MULTI, _INDEX, _COLUMN, _TIMESTAMP, _TIMEDELTA, _MISSING)
