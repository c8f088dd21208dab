"""The identity of code: one hash of a function or class, the globals it refers to and their values.

Equal in every process that runs the same program, whatever its hash seed; another where a constant, a default, a
closure's value, a helper or a method differs. File names, line numbers and comments do not count. Values are described
by what pickling would send, so what the hash does not see does not travel either.

Functions and classes that travel by value get numbers in the order in which the walk meets them and are described one
after the other; everything else is described in place. Beside the hash the walk records how to see cheaply that nothing
changed: by identity for what cannot change, by a look inside for what can.
"""

import copyreg
import enum
import functools
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import is_
from typing import Any

from runpod_flash.bytecode import absolute, code_hash, digest, imports, names, scalar
from worker_runtime.wire import payload

_SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes})
_MISSING = object()
_OBJECT_OWN = ("__new__", "__reduce__", "__reduce_ex__", "__getstate__")

_IMMUTABLE: frozenset[Any] = frozenset(
    {
        *(
            property,
            staticmethod,
            classmethod,
            functools.partial,
            functools.cached_property,
            functools._lru_cache_wrapper,
        ),
        *(types.MethodType, types.BuiltinFunctionType, types.GenericAlias, types.UnionType),
        *(type(Ellipsis), type(NotImplemented), range, slice),
    }
)
_IMMUTABLE_FROM = frozenset(
    {
        "annotated_types",
        "dataclasses",
        "datetime",
        "decimal",
        "fractions",
        "logging",
        "pathlib",
        "pydantic",
        "pydantic_core",
        "re",
        "runpod_flash",
        "typing",
        "uuid",
        "zoneinfo",
    }
)
"""Modules (or packages) whose objects do not change once they are made, as far as they tell when they are pickled."""

_CLASS_SKIPPED = frozenset(
    {"__dict__", "__weakref__", "__firstlineno__", "__static_attributes__", "__signature__", "_abc_impl"}
)  # made by Python, in an order or at a time that differs between processes
_ENUM_SKIPPED = frozenset(
    {
        "_member_names_",
        "_member_map_",
        "_value2member_map_",
        "_generate_next_value_",
        "_member_type_",
        "_hashable_values_",
        "_unhashable_values_",
        "_unhashable_values_map_",
    }
)
_PYDANTIC_KEPT = frozenset({"__pydantic_fields__", "__pydantic_decorators__"})  # the others are made from these

_Check = tuple[Callable[[Any, Any], bool], Any, Any]


class _Unknown(Exception):
    """A second description met code that the first did not know."""


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """What a walk over a function or class found.

    Attributes:
        code: the hash, in hexadecimal digits.
        modules: absolute names of the modules that the code refers to by name or imports.
        classes: the classes that travel by value with it.
    """

    code: str
    modules: frozenset[str]
    classes: tuple[type, ...]
    _checks: tuple[_Check, ...]

    def unchanged(self) -> bool:
        """Whether the code and all that it refers to are still as they were; takes microseconds."""
        try:
            for same, held, known in self._checks:  # each call asks: a generator would cost more than the checks
                if not same(held, known):
                    return False
        except RuntimeError:  # a dictionary that another thread is changing
            return False
        return True


def identify(code: types.FunctionType | type) -> Identity:
    """Describe a function or class and what it refers to.

    Raises:
        Exception: whatever a captured value raises when it is taken apart; it could not be pickled either.
    """
    graph = _Graph()
    describer = _Describer(graph, [])
    parts = [graph.token(code)]
    for found in graph.objects:  # grows as the walk goes on
        parts.extend(_class_parts(describer, found) if isinstance(found, type) else _function_parts(describer, found))
    classes = tuple(found for found in graph.objects if isinstance(found, type))
    graph.closed = True
    return Identity(digest(parts).hex(), frozenset(graph.modules), classes, tuple(describer.checks or ()))


class _Graph:
    """The functions and classes that travel by value, numbered, and the modules that are referred to by name."""

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self.modules: set[str] = set()
        self.closed = False
        self._numbers: dict[int, int] = {}

    def token(self, code: Any) -> bytes:
        """Name a function or class: by its import path, or by its number."""
        if id(code) in self._numbers:
            return b"#%d" % self._numbers[id(code)]
        if not payload.travels_by_value(code) or (isinstance(code, type) and not is_heap_type(code)):
            self.refer(code.__module__)
            return b"@" + _name(code)
        if self.closed:
            raise _Unknown
        self._numbers[id(code)] = len(self.objects)
        self.objects.append(code)
        return b"#%d" % self._numbers[id(code)]

    def refer(self, module: str | None) -> None:
        if module and not self.closed:
            self.modules.add(module)


class _NamedGraph(_Graph):
    """Names functions and classes by what they are alone: so that members of a set have an order."""

    def token(self, code: Any) -> bytes:
        inner = code_hash(code.__code__) if isinstance(code, types.FunctionType) else b""
        return b"&" + _name(code) + inner


class _Describer:
    """Turns values into bytes that tell them apart.

    `checks` receives what `Identity.unchanged` looks at; None where an enclosing object is looked at as a whole.
    """

    def __init__(self, graph: _Graph, checks: list[_Check] | None) -> None:
        self.graph = graph
        self.checks = checks
        self._open: dict[int, int] = {}  # objects that are being described -> their depth, for cycles
        self._done: dict[int, tuple[Any, bytes]] = {}  # the object is held so that its id stays its own

    def token(self, value: Any) -> bytes:
        """Describe a value. Raises what taking it apart raises."""
        kind = type(value)
        if kind in _SCALARS:
            return scalar(value)
        if isinstance(value, types.FunctionType | type):
            return self.graph.token(value)
        key = id(value)
        if key in self._done:
            return self._done[key][1]
        if key in self._open:
            return b"^%d" % self._open[key]
        self._open[key] = len(self._open)
        try:
            token = self._described(value, kind)
        finally:
            del self._open[key]
        self._done[key] = (value, token)
        return token

    def check(self, same: Callable[[Any, Any], bool], held: Any, known: Any) -> None:
        """Note how to see that something is as it was."""
        if self.checks is not None:
            self.checks.append((same, held, known))

    def _described(self, value: Any, kind: type) -> bytes:
        if kind is tuple or kind is list:
            if kind is list:
                self.check(_same_items, value, tuple(value))
            return (b"T" if kind is tuple else b"L") + digest(map(self.token, tuple(value)))
        if kind is dict:
            items = list(value.items())
            self.check(_same_mapping, value, (tuple(value), tuple(value.values())))
            return b"D" + digest(self.token(part) for item in items for part in item)
        if kind is set or kind is frozenset:
            if kind is set:
                self.check(_same_items, value, tuple(value))
            return (b"S" if kind is set else b"Z") + digest(map(self.token, _ordered(value)))
        if isinstance(value, types.ModuleType) and sys.modules.get(value.__name__) is value:
            self.graph.refer(value.__name__)
            return b"M" + value.__name__.encode()
        if kind is types.CodeType:
            return b"C" + code_hash(value)
        if kind.__name__ == "PickleBuffer":
            return b"B" + digest([value.raw()])
        return self._object(value, kind)

    def _object(self, value: Any, kind: type) -> bytes:
        if _is_plain(value, kind):
            self.check(_same_instance, value, (kind, value.__dict__))
            return b"O" + digest([self.token(kind), self.token(value.__dict__)])
        if self.checks is None or _is_immutable(kind):
            return self.reduced(value)
        token = _Describer(self.graph, None).reduced(value)
        self.check(_same_reduced, value, (self.graph, token))
        return token

    def reduced(self, value: Any) -> bytes:
        """Describe a value by what its pickle is made from."""
        parts = payload.reduced(value)
        if isinstance(parts, str):
            module = getattr(value, "__module__", None) or type(value).__module__
            self.graph.refer(module)
            return b"@" + f"{module}:{parts}".encode()
        described = [*parts, None, None, None][:5]  # callable, arguments, state, items, pairs
        if type(value).__module__.partition(".")[0] == "pydantic":
            described[2] = _without_address(described[2])
        described[3:] = [None if part is None else list(part) for part in described[3:]]
        return b"R" + digest(map(self.token, described))


def _function_parts(describer: _Describer, function: types.FunctionType) -> Iterator[bytes]:
    code = function.__code__
    known = payload.global_names(code)
    describer.check(_same_function, function, (known, _function_state(function, known)))
    yield _name(function) + b":" + function.__name__.encode()
    yield code_hash(code)
    for part in (function.__defaults__, function.__kwdefaults__, function.__annotations__, function.__dict__):
        yield describer.token(part)
    for cell in function.__closure__ or ():
        value = _content(cell)
        yield b"empty" if value is _MISSING else describer.token(value)
    for name in known:
        if name in function.__globals__ and name != "__builtins__":
            value = function.__globals__[name]
            yield name.encode()
            yield describer.token(value)
            if isinstance(value, types.ModuleType):
                describer.graph.modules.update(_submodules(value, code))
    written = imports(code)
    package = function.__globals__.get("__package__")
    describer.graph.modules.update(absolute(written, package))
    if any(level for _, level in written):
        yield describer.token(package)


def _class_parts(describer: _Describer, kind: type) -> Iterator[bytes]:
    describer.check(_same_class, kind, _class_state(kind))
    yield _name(kind) + b":" + kind.__name__.encode()
    yield describer.token(type(kind))
    yield describer.token(kind.__dict__.get("__orig_bases__", kind.__bases__))
    skipped = set(_CLASS_SKIPPED)
    if issubclass(kind, enum.Enum):
        members = {name: member.value for name, member in kind.__members__.items()}
        yield digest(part for name, value in members.items() for part in (name.encode(), describer.token(value)))
        skipped.update(_ENUM_SKIPPED, members)
    inherited = {name: value for base in reversed(kind.__bases__) for name, value in base.__dict__.items()}
    for name, value in sorted(kind.__dict__.items()):
        made = isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType)
        derived = name.startswith("__pydantic_") and name not in _PYDANTIC_KEPT
        if not (made or derived or name in skipped or inherited.get(name, _MISSING) is value):
            yield name.encode()
            yield describer.token(value)


def _submodules(module: types.ModuleType, code: types.CodeType) -> Iterable[str]:
    """Loaded modules inside a package that code may reach as attributes: `import a.b` binds only `a`."""
    prefix = module.__name__ + "."
    mentioned = names(code)
    return [name for name in list(sys.modules) if name.startswith(prefix) and mentioned.issuperset(name.split(".")[1:])]


def _ordered(members: Iterable[Any]) -> list[Any]:
    return sorted(members, key=_Describer(_NamedGraph(), None).token)


def _name(code: Any) -> bytes:
    return f"{code.__module__}:{code.__qualname__}".encode()


def is_heap_type(kind: type) -> bool:
    """Whether a class was made while the program ran, not compiled into the interpreter or an extension."""
    return bool(kind.__flags__ & 1 << 9)


def _without_address(state: Any) -> Any:
    """The state of one of pydantic's objects without `cls_ref`, which names a class with its address."""
    if isinstance(state, tuple):
        return tuple(map(_without_address, state))
    return {name: part for name, part in state.items() if name != "cls_ref"} if isinstance(state, dict) else state


def _is_plain(value: Any, kind: Any) -> bool:
    """Whether an object is no more than its class and its `__dict__`."""
    return (
        all(getattr(kind, name) is getattr(object, name) for name in _OBJECT_OWN)
        and not any(hasattr(kind, name) for name in ("__getnewargs__", "__getnewargs_ex__"))
        and not payload.has_reducer(kind)
        and hasattr(value, "__dict__")
        and not copyreg._slotnames(kind)  # type: ignore[attr-defined]
    )


def _is_immutable(kind: type) -> bool:
    return kind in _IMMUTABLE or kind.__module__.partition(".")[0] in _IMMUTABLE_FROM or issubclass(kind, enum.Enum)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _MISSING


def _function_state(function: types.FunctionType, known: tuple[str, ...]) -> tuple[Any, ...]:
    held = function.__globals__
    return (
        function.__code__,
        function.__defaults__,
        function.__kwdefaults__,
        function.__annotations__,
        function.__dict__,
        *map(_content, function.__closure__ or ()),
        *[held.get(name, _MISSING) for name in known],
    )


def _class_state(kind: type) -> tuple[Any, ...]:
    return (kind.__bases__, *kind.__dict__, *kind.__dict__.values())


def _same_function(function: types.FunctionType, known: tuple[tuple[str, ...], tuple[Any, ...]]) -> bool:
    return all(map(is_, _function_state(function, known[0]), known[1]))


def _same_class(kind: type, known: tuple[Any, ...]) -> bool:
    return _same_items(_class_state(kind), known)


def _same_items(held: Any, known: tuple[Any, ...]) -> bool:
    return len(held) == len(known) and all(map(is_, held, known))


def _same_mapping(held: dict[Any, Any], known: tuple[tuple[Any, ...], tuple[Any, ...]]) -> bool:
    return len(held) == len(known[0]) and all(map(is_, held, known[0])) and all(map(is_, held.values(), known[1]))


def _same_instance(held: Any, known: tuple[type, dict[str, Any]]) -> bool:
    return type(held) is known[0] and held.__dict__ is known[1]


def _same_reduced(held: Any, known: tuple[_Graph, bytes]) -> bool:
    try:
        return _Describer(known[0], None).reduced(held) == known[1]
    except Exception:  # noqa: BLE001 - the user's own __reduce__ runs; the next walk says what is wrong
        return False
