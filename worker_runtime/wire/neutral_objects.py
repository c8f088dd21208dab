"""Neutral encoding of objects whose classes the other side finds by name.

Enums, exceptions, named tuples, dataclasses, pydantic models: closed by kind, whatever a payload says. Objects are made
without their `__init__`, as pickling does; models are not validated again.
"""

import dataclasses
import enum
import sys
from typing import Any

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.neutral_nodes import Decoder, Encoder, Kind, Node, text
from worker_runtime.wire.neutral_plain import decode_pairs, encode_pairs

_MODEL_PARTS = ("__pydantic_extra__", "__pydantic_private__")


def kind_of(value: Any) -> Kind | None:
    """The kind of an object, None where it has none."""
    if isinstance(value, enum.Enum):
        return _ENUM
    if isinstance(value, BaseException):
        return _EXCEPTION
    if isinstance(value, tuple) and isinstance(getattr(value, "_fields", None), tuple):
        return _NAMED_TUPLE
    if (model := _model()) is not None and isinstance(value, model):
        return _MODEL
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _DATACLASS
    return None


def _encode_enum(encoder: Encoder, value: enum.Enum) -> list[Node]:
    name = value._name_
    if name is not None and type(value).__members__.get(name) is value:
        return [encoder.class_node(type(value)), name]
    return [encoder.class_node(type(value)), None, encoder.node(value._value_, ".value")]  # several flags


def _decode_enum(decoder: Decoder, nodes: list[Node]) -> Any:
    kind, name, *flags = nodes
    found = decoder.class_of(kind, enum.Enum)
    if name is not None:
        return found.__members__[text(name)]
    if not issubclass(found, enum.Flag):
        raise WireError(f"class {found.__qualname__} has no combined flags")
    return found(decoder.value(*flags))


def _builtin_base(kind: type) -> Any:
    """The first of the bases that Python itself brings: it knows how to make an exception from its arguments."""
    return next(base for base in kind.__mro__ if base.__module__ == "builtins")


def _encode_exception(encoder: Encoder, value: BaseException) -> list[Node]:
    base = _builtin_base(type(value))
    _, args, *state = base.__reduce__(value)
    attributes = dict(state[0]) if state and state[0] else {}
    return [encoder.class_node(type(value)), encoder.node(args, ".args"), *encoder.members(attributes)]


def _decode_exception(decoder: Decoder, nodes: list[Node]) -> Any:
    found, args = decoder.class_of(nodes[0], BaseException), decoder.value(nodes[1])
    attributes = decoder.members(nodes[2:])
    if not isinstance(args, tuple):
        raise WireError("the arguments of an exception are no tuple")
    base = _builtin_base(found)
    made = base.__new__(found, *args)
    base.__init__(made, *args)
    for name, value in attributes.items():
        object.__setattr__(made, name, value)
    return made


def _encode_named_tuple(encoder: Encoder, value: Any) -> list[Node]:
    if getattr(value, "__dict__", None):
        raise encoder.refusal("is a named tuple with attributes beside its fields")
    named = zip(value._fields, tuple.__iter__(value), strict=True)
    return [encoder.class_node(type(value)), *(encoder.node(item, f".{name}") for name, item in named)]


def _decode_named_tuple(decoder: Decoder, nodes: list[Node]) -> Any:
    found, items = decoder.class_of(nodes[0], tuple), decoder.values(nodes[1:])
    fields = getattr(found, "_fields", None)
    if not isinstance(fields, tuple) or len(fields) != len(items):
        raise WireError(f"class {found.__qualname__} has not these {len(items)} fields; it may be another version here")
    return tuple.__new__(found, items)


def _encode_dataclass(encoder: Encoder, value: Any) -> list[Node]:
    kind = type(value)
    try:
        object.__new__(kind)
    except TypeError:
        raise encoder.refusal(f"is a dataclass that is something else, too: {_builtin_base(kind).__name__}") from None
    fields = [field.name for field in dataclasses.fields(value)]
    attributes = {name: getattr(value, name) for name in fields if hasattr(value, name)}
    return [encoder.class_node(kind), *encoder.members(attributes | getattr(value, "__dict__", {}))]


def _decode_dataclass(decoder: Decoder, nodes: list[Node]) -> Any:
    found = decoder.class_of(nodes[0], object)
    if not dataclasses.is_dataclass(found):
        raise WireError(f"class {found.__qualname__} is no dataclass here")
    made: Any = object.__new__(found)  # type: ignore[arg-type]  # a class, as class_of has seen
    for name, value in decoder.members(nodes[1:]).items():
        object.__setattr__(made, name, value)
    return made


def _model() -> Any:
    """pydantic's base of models, None where this program has not loaded it."""
    return getattr(sys.modules.get("pydantic.main"), "BaseModel", None)


def _encode_model(encoder: Encoder, value: Any) -> list[Node]:
    parts = [getattr(value, name, None) for name in _MODEL_PARTS]
    private = {name: part for name, part in (parts[1] or {}).items() if type(part).__name__ != "PydanticUndefinedType"}
    return [
        *_encode_model_class(encoder, type(value)),
        sorted(value.__pydantic_fields_set__),
        None if parts[0] is None else encode_pairs(encoder, parts[0]),
        None if parts[1] is None else encoder.members(private),
        *encoder.members(value.__dict__),
    ]


def _encode_model_class(encoder: Encoder, kind: Any) -> list[Node]:
    """The class, and what stands in brackets behind the name of a generic one."""
    generic = kind.__pydantic_generic_metadata__
    if generic["origin"] is None:
        return [encoder.class_node(kind), []]
    for argument in generic["args"]:
        if not isinstance(argument, type):
            raise encoder.refusal(f"is a model of the generic type {kind.__name__}, of which {argument} is no class")
    return [encoder.class_node(generic["origin"]), [encoder.class_node(argument) for argument in generic["args"]]]


def _decode_model(decoder: Decoder, nodes: list[Node]) -> Any:
    model = _model()
    kind, arguments, fields_set, extra, private, *attributes = nodes
    found = decoder.class_of(kind, object)
    model = _model() or model
    if model is None or not issubclass(found, model):
        raise WireError(f"class {found.__qualname__} is no pydantic model here")
    if arguments:
        found = found[tuple(decoder.class_of(argument, object) for argument in arguments)]
    parts = {
        "__pydantic_fields_set__": set(map(text, fields_set)),
        "__pydantic_extra__": None if extra is None else decode_pairs(decoder, extra),
        "__pydantic_private__": None if private is None else decoder.members(private),
        "__dict__": decoder.members(attributes),
    }
    made = object.__new__(found)
    for name, part in parts.items():
        object.__setattr__(made, name, part)
    return made


_ENUM = Kind("enum", _encode_enum, _decode_enum)
_EXCEPTION = Kind("exception", _encode_exception, _decode_exception)
_NAMED_TUPLE = Kind("namedtuple", _encode_named_tuple, _decode_named_tuple)
_DATACLASS = Kind("dataclass", _encode_dataclass, _decode_dataclass)
_MODEL = Kind("model", _encode_model, _decode_model)
KINDS = (_ENUM, _EXCEPTION, _NAMED_TUPLE, _DATACLASS, _MODEL)
