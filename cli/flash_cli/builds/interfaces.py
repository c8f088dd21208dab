"""What plain JSON a function or class takes: its parameters, with JSON Schemas of their annotations if there are any.

Runs where the user's modules are imported, as annotations are objects of theirs.
"""

import contextlib
import inspect
import types
import typing
import warnings
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

import pydantic

from runpod_flash import signatures
from runpod_flash.spec import EndpointSpec
from worker_runtime.wire.interface import FUNCTION, Interface, Parameter

_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "either",
    inspect.Parameter.KEYWORD_ONLY: "named",
    inspect.Parameter.VAR_KEYWORD: "rest",
}
_AT_THE_END = frozenset({"close", "aclose"})
"""What runs when an object is dropped; it is no call, unless the class has nothing else."""


def interface_of(target: FunctionType | type, spec: EndpointSpec) -> Interface:
    """The calls of a function or class; of a batched one, what a single call gives."""
    batched = spec.batch is not None
    if not isinstance(target, type):
        return Interface(
            {FUNCTION: _parameters(signatures.of_function(target), target, batched=batched)}, _docs(target)
        )
    methods = dict(_methods(target))
    calls = {
        name: _parameters(signatures.of_method(target, name, defined), getattr(target, name), batched=batched)
        for name, defined in methods.items()
    }
    docs = {name: doc for name in methods if (doc := inspect.getdoc(getattr(target, name)))}
    return Interface(calls, docs)


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    defined: dict[str, Any] = {}
    for base in reversed(kind.__mro__[:-1]):
        defined.update(vars(base))
    public = {name: each for name, each in defined.items() if not name.startswith("_") and signatures.is_method(each)}
    called = {name: each for name, each in public.items() if name not in _AT_THE_END} or public
    if not called and "__call__" in defined:
        called = {"__call__": defined["__call__"]}
    yield from sorted(called.items())


def _parameters(known: signatures.Parameters | None, function: Any, *, batched: bool) -> tuple[Parameter, ...]:
    if known is None:  # it does not tell
        return (Parameter("kwargs", "rest", required=False),)
    hints = _hints(function)
    return tuple(
        Parameter(
            name,
            _KINDS[each.kind],
            each.default is each.empty and each.kind is not each.VAR_KEYWORD,
            schema(_single(hints.get(name, Any)) if batched else hints.get(name, Any)),
        )
        for name, each in known.of_callers.parameters.items()
        if each.kind in _KINDS
    )


def _hints(function: Any) -> dict[str, Any]:
    """The types of parameters; those whose annotations name nothing here are left out."""
    inner = inspect.unwrap(function)
    written = getattr(inner, "__annotations__", {})
    found: dict[str, Any] = {}
    for name, each in written.items():
        alone = types.SimpleNamespace(__annotations__={name: each})
        with contextlib.suppress(Exception):  # annotations are the user's code
            found |= typing.get_type_hints(alone, getattr(inner, "__globals__", {}), include_extras=True)
    return found


def _single(kind: Any) -> Any:
    """The type of one value where a batched function takes a list of them."""
    arguments = typing.get_args(kind)
    return arguments[0] if len(arguments) == 1 else Any


def schema(kind: Any) -> Mapping[str, Any]:
    """The JSON Schema of a type's values; empty where JSON cannot say it, or anything goes."""
    if kind is Any or kind is inspect.Parameter.empty:
        return {}
    made: dict[str, Any] = {}
    with contextlib.suppress(Exception), warnings.catch_warnings():  # types and their hooks are the user's code
        warnings.simplefilter("ignore")
        made = pydantic.TypeAdapter(kind).json_schema()
    return made


def _docs(target: Any) -> dict[str, str]:
    doc = inspect.getdoc(target)
    return {FUNCTION: doc} if doc else {}
