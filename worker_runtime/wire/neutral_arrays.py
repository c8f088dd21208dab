"""Neutral encoding of numpy's arrays and scalars and of torch's tensors: a header and the raw buffer.

Buffers keep the byte order that the header names (numpy), or are little-endian (torch). Tensors arrive on the CPU.
Neither package is imported here before a payload names it.
"""

import importlib
import re
import sys
from typing import Any

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.neutral_nodes import Decoder, Encoder, Kind, Node, natural, text
from worker_runtime.wire.neutral_plain import bytes_of, check_size, encode_bytes
from worker_runtime.wire.tensors import raw_bytes

_PLAIN_DTYPE = re.compile(r"[<>|][biufcmMSUV][0-9]+(\[[0-9]*[A-Za-z]+\])?")
_OBJECTS = "objects"
_TENSORS = frozenset({
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "complex64", "complex128", "bool", "bfloat16", "float8_e4m3fn", "float8_e5m2",
})  # fmt: skip


def numpy_kind(value: Any) -> Kind | None:
    """The kind of one of numpy's objects, None where it has none."""
    numpy = sys.modules["numpy"]
    kind = type(value)
    if kind in (numpy.ndarray, numpy.memmap):
        return _ARRAY
    if isinstance(value, numpy.dtype):
        return _DTYPE
    return _SCALAR if isinstance(value, numpy.generic) and kind.__module__ == "numpy" else None


def torch_kind(value: Any) -> Kind | None:
    """The kind of one of torch's objects, None where it has none."""
    torch = sys.modules["torch"]
    return _TENSOR if type(value) in (torch.Tensor, torch.nn.Parameter) else None


def _dtype_node(encoder: Encoder, dtype: Any) -> Node:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return ["many", _dtype_node(encoder, base), list(shape)]
    if dtype.names is not None:
        fields = [(name, *dtype.fields[name]) for name in dtype.names]
        parts = [[name, _dtype_node(encoder, part), offset, *title] for name, part, offset, *title in fields]
        return ["fields", dtype.itemsize, dtype.isalignedstruct, *parts]
    if not _PLAIN_DTYPE.fullmatch(dtype.str) or sys.modules["numpy"].dtype(dtype.str) != dtype or not dtype.itemsize:
        raise encoder.refusal(f"has the dtype {dtype}, which has no raw form that every version reads")
    return dtype.str


def _dtype_of(node: Node) -> Any:
    numpy = importlib.import_module("numpy")
    if isinstance(node, str):
        if not _PLAIN_DTYPE.fullmatch(node):  # nothing that holds references ever comes from raw bytes
            raise WireError(f"{node!r:.80} is no dtype of raw items")
        return numpy.dtype(node)
    if node[0] == "many":
        _, base, shape = node
        return numpy.dtype((_dtype_of(base), tuple(map(natural, shape))))
    _, size, aligned, *fields = node
    described = {
        "names": [text(field[0]) for field in fields],
        "formats": [_dtype_of(field[1]) for field in fields],
        "offsets": [natural(field[2]) for field in fields],
        "titles": [text(field[3]) if len(field) > 3 else None for field in fields],
        "itemsize": natural(size),
    }
    return numpy.dtype(described, align=aligned is True)


def _encode_dtype(encoder: Encoder, value: Any) -> list[Node]:
    return [_OBJECTS if value.char == "O" else _dtype_node(encoder, value)]


def _decode_dtype(_: Decoder, nodes: list[Node]) -> Any:
    return importlib.import_module("numpy").dtype("O") if nodes == [_OBJECTS] else _dtype_of(*nodes)


def _encode_array(encoder: Encoder, value: Any) -> list[Node]:
    numpy = sys.modules["numpy"]
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    form = [list(value.shape), "F" if fortran else "C"]
    if value.dtype.char == "O":
        return [_OBJECTS, list(value.shape), "C", *encoder.nodes(value.reshape(-1).tolist())]
    dtype = _dtype_node(encoder, value.dtype)
    flat = numpy.ascontiguousarray(value.T if fortran else value).reshape(-1)
    return [dtype, *form, encoder.buffer(memoryview(flat.view(numpy.uint8)) if flat.size else b"")]


def _decode_array(decoder: Decoder, nodes: list[Node]) -> Any:
    numpy = importlib.import_module("numpy")
    dtype, shape, order, *rest = nodes
    if dtype == _OBJECTS:
        check_size(shape, 1, len(rest))
        made = numpy.empty(len(rest), dtype=object)
        for index, item in enumerate(decoder.values(rest)):
            made[index] = item
        return made.reshape(shape)
    found, (number,) = _dtype_of(dtype), rest
    data = decoder.buffer(number)
    check_size(shape, found.itemsize, len(data))
    if not data.nbytes:
        return numpy.zeros(shape, dtype=found)
    return numpy.frombuffer(bytearray(data), dtype=found).reshape(shape, order="F" if order == "F" else "C")


def _encode_scalar(encoder: Encoder, value: Any) -> list[Node]:
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.str_):
        return ["str", encoder.node(str(value))]
    if isinstance(value, numpy.bytes_):
        return ["bytes", encoder.node(bytes(value))]
    return [_dtype_node(encoder, value.dtype), *encode_bytes(encoder, value.tobytes())]


def _decode_scalar(decoder: Decoder, nodes: list[Node]) -> Any:
    numpy = importlib.import_module("numpy")
    dtype, node = nodes
    if dtype in ("str", "bytes"):
        inner = decoder.value(node)
        return numpy.str_(inner) if dtype == "str" else numpy.bytes_(inner)
    found, data = _dtype_of(dtype), bytes_of(decoder, node)
    check_size([], found.itemsize, len(data))
    return numpy.frombuffer(bytearray(data), dtype=found).reshape(())[()]


def _encode_tensor(encoder: Encoder, value: Any) -> list[Node]:
    torch = sys.modules["torch"]
    name = str(value.dtype).removeprefix("torch.")
    if value.layout != torch.strided or value.is_quantized or value.device.type == "meta" or name not in _TENSORS:
        raise encoder.refusal(
            f"is a tensor of layout {value.layout} and dtype {value.dtype}; make it a plain, dense one"
        )
    _check_little_endian()
    plain = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
    size = plain.numel() * plain.element_size()
    raw: Any = raw_bytes(plain, size) if size else b""
    return [
        name,
        list(plain.shape),
        bool(value.requires_grad),
        isinstance(value, torch.nn.Parameter),
        encoder.buffer(raw),
    ]


def _decode_tensor(decoder: Decoder, nodes: list[Node]) -> Any:
    torch = importlib.import_module("torch")
    name, shape, requires_grad, parameter, number = nodes
    if name not in _TENSORS or not hasattr(torch, name):
        raise WireError(f"{name!r:.80} is no dtype of tensors here")
    _check_little_endian()
    dtype, data = getattr(torch, name), decoder.buffer(number)
    check_size(shape, torch.empty(0, dtype=dtype).element_size(), len(data))
    if not data.nbytes:
        made = torch.empty(shape, dtype=dtype)
    else:
        made = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(dtype).reshape(shape)
    if parameter is True:
        return torch.nn.Parameter(made, requires_grad=requires_grad is True)
    return made.requires_grad_() if requires_grad is True else made


def _check_little_endian() -> None:
    if sys.byteorder != "little":
        raise WireError("tensors travel between little-endian machines only; send numpy arrays")


_ARRAY = Kind("numpy.array", _encode_array, _decode_array)
_SCALAR = Kind("numpy.scalar", _encode_scalar, _decode_scalar)
_DTYPE = Kind("numpy.dtype", _encode_dtype, _decode_dtype)
_TENSOR = Kind("torch.tensor", _encode_tensor, _decode_tensor)
KINDS = (_ARRAY, _SCALAR, _DTYPE, _TENSOR)
