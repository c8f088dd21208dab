"""Values as bytes. The only file of the project that pickles or unpickles.

A payload starts with the mark `FP`, the protocol version and the Python version (major, minor) that wrote it, one byte
each; the pickle follows. With the mark `FB` the large buffers of the value lie behind the pickle (`regions`). The
version is compared before anything is unpickled: code objects of another minor version can kill the interpreter.
"""

import dis
import functools
import pickle
import sys
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from worker_runtime.wire import PROTOCOL, regions, tensors
from worker_runtime.wire.errors import VersionMismatch, WireError
from worker_runtime.wire.pieces import WHOLE_LIMIT, Encoded, Part, Pieces, joined

_MARK, _REGION_MARK = b"FP", b"FB"
_VERSIONS = bytes([PROTOCOL, *sys.version_info[:2]])
_PREFIX = _MARK + _VERSIONS
_BUFFER_LIMIT = 16 * 1024  # smaller buffers lie in the pickle

_NUMBERS, _OF_A_PACKAGE = frozenset("biufc"), 2  # `kind` and `isbuiltin` of numpy's types
_PLAIN = frozenset({bool, bytes, float, int, str, type(None)})

TypeKey = Callable[[type], str | None]
"""Gives a class that travels by value a key that is the same in every process, or None to leave it to cloudpickle."""


def encode(
    value: Any,
    type_key: TypeKey | None = None,
    *,
    defines: bool = False,
    modules: set[str] | None = None,
) -> bytes:
    """Pickle a value. Raises what the pickling of a part of it raises (TypeError, PicklingError, RecursionError …).

    Args:
        value: what to pickle.
        type_key: keys of the classes that travel by value.
        defines: whether these are definitions (the code of an artifact): the receiver then gives a class that it knows
            already under its key the methods of this payload. Otherwise it leaves such a class as it is.
        modules: receives the name of every module whose functions and classes the payload refers to by name.
    """
    return joined(encode_pieces(value, type_key, defines=defines, modules=modules))


def encode_pieces(
    value: Any,
    type_key: TypeKey | None = None,
    *,
    defines: bool = False,
    modules: set[str] | None = None,
) -> Encoded:
    """As `encode`, but a large value is not copied: the pieces are to be written before anybody changes it."""
    gathered = _Gathered()
    if _is_simple(value):
        pickle.Pickler(gathered, 5, buffer_callback=gathered.lies_in_stream).dump(value)
    else:
        _Pickler(gathered, type_key, defines, modules).dump(value)
    return _encoded(gathered)


def _encoded(gathered: "_Gathered") -> Encoded:
    parts = gathered.parts
    if gathered.buffers:
        pieces = regions.lay_out(_REGION_MARK + _VERSIONS, parts[1:], gathered.buffers)
    elif len(parts) == 2:
        return b"".join(parts)
    else:
        pieces = Pieces(parts)
    return pieces if pieces.size > WHOLE_LIMIT else pieces.joined()


def encode_plain(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Encoded | None:
    """The arguments of a call as `encode_pieces` gives them, where all are of types that need no care; else None.

    Making cloudpickle's pickler takes ten times as long as what it does for a number or a text.
    """
    is_plain = True
    for value in (*args, *kwargs.values()):
        if type(value) not in _PLAIN:
            if not _is_simple(value):
                return None
            is_plain = False
    if is_plain:
        encoded = _PREFIX + pickle.dumps((args, kwargs), 5)
        if len(encoded) <= WHOLE_LIMIT:
            return encoded
    gathered = _Gathered()
    pickle.Pickler(gathered, 5, buffer_callback=gathered.lies_in_stream).dump((args, kwargs))
    return _encoded(gathered)


def _is_simple(value: Any) -> bool:
    """Whether pickle itself makes of a value what cloudpickle would: a number, a text, an array of numbers."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    numpy = sys.modules.get("numpy")
    if numpy is None or kind is not getattr(numpy, "ndarray", None):
        return False
    numbers = value.dtype
    return bool(numbers.kind in _NUMBERS and numbers.isbuiltin != _OF_A_PACKAGE and numbers.metadata is None)


def decode(payload: Part) -> Any:
    """Unpickle a payload. Buffers of one that can be written to are used where they lie, others are copied.

    Raises:
        VersionMismatch: it was written by another protocol or Python minor version; nothing was unpickled.
        WireError: it is no payload.
    """
    check(payload)
    view = memoryview(payload)
    if view[:2] != _REGION_MARK:
        return cloudpickle.loads(view[len(_PREFIX) :])
    stream, buffers = regions.take_apart(view)
    return cloudpickle.loads(stream, buffers=map(bytearray, buffers) if view.readonly else buffers)


def check(payload: Part) -> None:
    """Compare the payload's mark and versions with this process; raises as `decode` does."""
    if payload[:2] not in (_MARK, _REGION_MARK) or len(payload) < len(_PREFIX):
        raise WireError("these bytes are no payload of this framework")
    protocol, *python = payload[2:5]
    if protocol != PROTOCOL:
        raise VersionMismatch(
            f"the payload has protocol {protocol}, this side speaks {PROTOCOL}; use one version on both sides"
        )
    if tuple(python) != sys.version_info[:2]:
        here = ".".join(map(str, sys.version_info[:2]))
        raise VersionMismatch(
            f"the payload was written by Python {python[0]}.{python[1]}, this is Python {here}; "
            "pickles are only safe between equal versions"
        )


def travels_by_value(code: type | types.FunctionType) -> bool:
    """Whether a class or function is pickled whole (as those of `__main__` are) instead of by its name."""
    return cloudpickle.cloudpickle._should_pickle_by_reference(code) is False


def reduced(value: Any) -> Any:
    """Take a value apart as pickling does, one level deep: the name of a global, or (callable, arguments, state, …).

    Not for functions, classes, code and the built-in containers, which pickling does not reduce.
    """
    own = _reduce_by_definition(value)
    if own is not NotImplemented:
        return own
    reducer = cloudpickle.Pickler.dispatch_table.get(type(value))
    return reducer(value) if reducer is not None else value.__reduce_ex__(5)


def has_reducer(kind: type) -> bool:
    """Whether pickling takes objects of this class apart in a way that the class itself does not tell."""
    return kind in _ALWAYS or kind in _DEFINITIONS or kind in cloudpickle.Pickler.dispatch_table


def track(kind: type, key: str | None) -> None:
    """Remember a class under its key, so that its instances decode as instances of this very class.

    A class whose key changed is sent under the new key and recognised under the old ones too. None changes nothing.
    """
    engine = cloudpickle.cloudpickle
    if key is None or engine._DYNAMIC_CLASS_TRACKER_BY_CLASS.get(kind) == key:
        return
    with engine._DYNAMIC_CLASS_TRACKER_LOCK:
        engine._DYNAMIC_CLASS_TRACKER_BY_CLASS[kind] = key
        engine._DYNAMIC_CLASS_TRACKER_BY_ID[key] = kind
    _complete.add(kind)


@functools.lru_cache(maxsize=4096)
def global_names(code: types.CodeType) -> tuple[str, ...]:
    """The global names that code and the code nested in it refer to, sorted.

    Those of class bodies may turn out to be names of the class.
    """
    names = {step.argval for step in dis.get_instructions(code) if step.opname in _GLOBAL_STEPS}
    for nested in code.co_consts:
        if isinstance(nested, types.CodeType):
            names.update(global_names(nested))
    return tuple(sorted(names))


_GLOBAL_STEPS = frozenset({"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})

_complete: "weakref.WeakSet[type]" = weakref.WeakSet()


class _Gathered:
    """Gathers what a pickler writes: its stream, and large buffers beside that. Large bytes are not copied."""

    __slots__ = ("buffers", "parts", "write")

    def __init__(self) -> None:
        self.parts: list[Part] = [_PREFIX]
        self.write = self.parts.append  # what a pickler asks of a file
        self.buffers: list[memoryview] = []

    def lies_in_stream(self, buffer: pickle.PickleBuffer) -> bool:
        """Whether a buffer goes into the stream; a large one is taken here."""
        raw = buffer.raw()
        if raw.nbytes < _BUFFER_LIMIT:
            return True
        self.buffers.append(raw)
        return False


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle, with what it lacks for functions that travel between runs of a program.

    A class that travels by value keeps one identity over several runs: cloudpickle makes the receiver reuse a class it
    has seen under the same tracker id, but that id is random in each process, so a warm worker would meet the arguments
    of a second run as instances of another class than its function knows. Globals read by class bodies travel, and so
    do helpers that cloudpickle would look up in the receiver's `__main__` (`_reduce_by_definition`).
    """

    def __init__(self, gathered: _Gathered, type_key: TypeKey | None, defines: bool, modules: set[str] | None) -> None:
        super().__init__(gathered, protocol=5, buffer_callback=gathered.lies_in_stream)
        self._type_key = type_key
        self._defines = defines
        self._modules = modules

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type):
            return self._reduce_class(obj)
        own = _reduce_by_definition(obj)
        if own is NotImplemented:
            own = tensors.reduced(obj)
        if own is not NotImplemented:
            return own
        if self._modules is not None:
            name = obj.__name__ if isinstance(obj, types.ModuleType) else getattr(obj, "__module__", None)
            self._modules.add(name if isinstance(name, str) else "builtins")
        return super().reducer_override(obj)

    def _reduce_class(self, kind: type) -> Any:
        if not travels_by_value(kind):
            if self._modules is not None:
                self._modules.add(kind.__module__)
            return super().reducer_override(kind)
        if self._type_key is not None:
            track(kind, self._type_key(kind))
        parts = super().reducer_override(kind)
        if isinstance(parts, tuple) and len(parts) == 6:
            return (*parts[:5], _define_class if self._defines else _complete_class)
        return parts

    def _dynamic_function_reduce(self, func: types.FunctionType) -> Any:
        parts = super()._dynamic_function_reduce(func)
        shipped = parts[2][1]["__globals__"]
        for name in global_names(func.__code__):
            if name in func.__globals__ and name != "__builtins__":
                shipped.setdefault(name, func.__globals__[name])
        return parts


def _define_class(kind: type, state: Any) -> type:
    cloudpickle.cloudpickle._class_setstate(kind, state)
    _complete.add(kind)
    return kind


def _complete_class(kind: type, state: Any) -> type:
    return kind if kind in _complete else _define_class(kind, state)


def _reduce_by_definition(obj: Any) -> Any:
    """Reduce what cannot be pickled, or by a name in a `__main__` that the receiver does not have."""
    kind = type(obj)
    if kind in _ALWAYS:
        return _ALWAYS[kind](obj)
    reducer = _DEFINITIONS.get(kind)
    if reducer is None or _importable(obj):
        return NotImplemented
    return reducer(obj)


def _importable(obj: Any) -> bool:
    module = sys.modules.get(obj.__module__) if obj.__module__ != "__main__" else None
    found: Any = module
    for part in getattr(obj, "__qualname__", obj.__name__).split("."):
        found = getattr(found, part, None)
    return module is not None and found is obj


def _reduce_cached(obj: Any) -> Any:
    return _make_cached, (obj.__wrapped__, obj.cache_parameters(), vars(obj))


def _make_cached(function: Any, parameters: dict[str, Any], attributes: dict[str, Any]) -> Any:
    cached = functools.lru_cache(**parameters)(function)
    vars(cached).update(attributes)
    return cached


def _reduce_weak_keys(obj: Any) -> Any:
    return weakref.WeakKeyDictionary, (dict(obj),)


def _reduce_cached_property(obj: Any) -> Any:
    return _make_cached_property, (obj.func, obj.attrname)


def _make_cached_property(function: Any, name: str | None) -> Any:
    made = functools.cached_property(function)
    made.attrname = name
    return made


def _reduce_new_type(obj: Any) -> Any:
    return _make_new_type, (obj.__name__, obj.__supertype__, obj.__module__)


def _make_new_type(name: str, supertype: Any, module: str) -> Any:
    made = typing.NewType(name, supertype)  # type: ignore[misc]
    made.__module__ = module
    return made


def _reduce_type_variable(obj: Any) -> Any:
    parts = (obj.__name__, obj.__bound__, obj.__constraints__, obj.__covariant__, obj.__contravariant__)
    key = f"{obj.__module__}.{parts}"
    track(obj, key)
    return cloudpickle.cloudpickle._make_typevar, (*parts, key)


def _reduce_parameters(obj: Any) -> Any:
    return type(obj), (obj.__name__,)


def _reduce_alias(obj: Any) -> Any:
    return _make_alias, (type(obj), obj.__name__, obj.__value__, obj.__type_params__)


def _make_alias(kind: Any, name: str, value: Any, parameters: tuple[Any, ...]) -> Any:
    return kind(name, value, type_params=parameters)


_ALWAYS: dict[type, Callable[[Any], Any]] = {
    weakref.WeakKeyDictionary: _reduce_weak_keys,  # inside functools.singledispatch
    functools.cached_property: _reduce_cached_property,  # holds a lock in Python 3.11
}
_DEFINITIONS: dict[type, Callable[[Any], Any]] = {
    functools._lru_cache_wrapper: _reduce_cached,
    typing.NewType: _reduce_new_type,
    typing.TypeVar: _reduce_type_variable,  # cloudpickle gives it a name that differs between processes
    typing.ParamSpec: _reduce_parameters,
    typing.TypeVarTuple: _reduce_parameters,
}
if sys.version_info >= (3, 12):
    _DEFINITIONS[typing.TypeAliasType] = _reduce_alias
