"""What a code object says about itself: its description without places, and the modules it imports.

Pure functions of code objects; nothing is executed and nothing is imported.
"""

import dis
import functools
import hashlib
import importlib.util
import math
import struct
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from types import CodeType

Import = tuple[str, int]
"""An import as written: the dotted name and the number of leading dots."""

_CLASS_PLACES = frozenset({"__firstlineno__", "__static_attributes__"})
"""What class bodies store since Python 3.13: a line number, and names in an order that the hash seed decides."""


@functools.lru_cache(maxsize=4096)
def code_hash(code: CodeType) -> bytes:
    """Hash what the code does. File names and line numbers are left out: comments change nothing."""
    parts = [
        code.co_exceptiontable,
        repr((code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags, code.co_name)).encode(),
        repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)).encode(),
    ]
    if _CLASS_PLACES.isdisjoint(code.co_names):
        return digest([*parts, code.co_code, *map(_constant, code.co_consts)])
    return digest([*parts, *_steps_of_class(code)])


@functools.lru_cache(maxsize=4096)
def imports(code: CodeType) -> tuple[Import, ...]:
    """The imports in code and the code nested in it, sorted.

    Import statements (`from a import b` gives `a` and `a.b`), and `import_module` and `__import__` of a literal.
    """
    found = set(_imports(code))
    for nested in code.co_consts:
        if isinstance(nested, CodeType):
            found.update(imports(nested))
    return tuple(sorted(found))


@functools.lru_cache(maxsize=4096)
def names(code: CodeType) -> frozenset[str]:
    """All names of globals, attributes and modules that code and the code nested in it mention."""
    nested = [names(const) for const in code.co_consts if isinstance(const, CodeType)]
    return frozenset(code.co_names).union(*nested)


def absolute(found: Iterable[Import], package: str | None) -> Iterator[str]:
    """The absolute names of imports; relative ones are left out where there is no package to start from."""
    for name, level in found:
        if not level:
            yield name
        elif package and level <= len(package.split(".")):
            yield importlib.util.resolve_name("." * level + name, package)


def from_literal(text: str) -> Import:
    """The import that `import_module(text)` makes."""
    name = text.lstrip(".")
    return name, len(text) - len(name)


def digest(parts: Iterable[bytes]) -> bytes:
    """sha256 of a sequence of byte strings; other cuts of the same bytes give another hash."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return hasher.digest()


def scalar(value: complex | str | bytes | None) -> bytes:
    """Describe an immutable value of a built-in type (numbers, text, bytes, None, booleans) with its type.

    -0.0 differs from 0.0 and 1 from 1.0; any nan is the same nan.
    """
    match value:
        case str():
            return b"s" + value.encode("utf-8", "surrogatepass")
        case bytes():
            return b"b" + value
        case bool() | None:
            return repr(value).encode()
        case int():
            return b"i" + value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
        case float():
            return b"f" + _float(value)
        case _:
            return b"c" + _float(value.real) + _float(value.imag)


def _steps_of_class(code: CodeType) -> Iterator[bytes]:
    """The body of a class step by step, without those that store where it is written."""
    steps = list(dis.get_instructions(code))
    for step, following in zip_longest(steps, steps[1:]):
        stored = following is not None and following.argval in _CLASS_PLACES
        if step.opname != "EXTENDED_ARG" and step.argval not in _CLASS_PLACES and not stored:
            yield step.opname.encode()
            yield _constant(step.argval) if step.opcode in dis.hasconst else str(step.arg).encode()


def _float(value: float) -> bytes:
    return b"nan" if math.isnan(value) else struct.pack("!d", value)


def _constant(value: object) -> bytes:
    match value:
        case CodeType():
            return b"C" + code_hash(value)
        case tuple():
            return b"T" + digest(map(_constant, value))
        case frozenset():
            return b"S" + digest(sorted(map(_constant, value)))
        case None | bool() | int() | float() | complex() | str() | bytes():
            return scalar(value)
        case _:
            return repr(value).encode()  # Ellipsis, and slices in later versions


def _imports(code: CodeType) -> Iterator[Import]:
    constants: list[object] = []  # those loaded since the last step that was no constant
    dynamic = False
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
            constants.append(step.argval)
            if dynamic and isinstance(step.argval, str):
                yield from_literal(step.argval)
            dynamic = False
            continue
        if step.opname == "IMPORT_NAME":
            yield from _statement(step.argval, constants[-2:])
        if step.argval in ("import_module", "__import__"):
            dynamic = True
        elif step.opname not in ("CACHE", "EXTENDED_ARG", "PUSH_NULL"):
            dynamic = False
        if step.opname != "EXTENDED_ARG":
            constants = []


def _statement(name: str, constants: list[object]) -> Iterator[Import]:
    level, members = constants if len(constants) == 2 else (0, None)
    if not isinstance(level, int):
        return
    yield name, level
    for member in members if isinstance(members, tuple) else ():
        yield f"{name}.{member}" if name else str(member), level
