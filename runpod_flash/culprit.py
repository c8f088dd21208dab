"""Finds what it is, inside something that cannot be pickled, that cannot: where it sits and in whose words."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from worker_runtime.wire import payload

Encode = Callable[[Any], object]
"""Pickles a value; raises where it cannot."""

_DEPTH = 50
_TRIES = 5_000  # parts that are pickled one by one; then the search ends with what it knows


@dataclass(frozen=True, slots=True)
class Step:
    """One step from a thing to a part of it: `['a']` or `.lock` in data, `global 'LOCK'` in the function `owner`."""

    label: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Culprit:
    """The innermost part that cannot be pickled: the steps to it and what pickling it raises."""

    steps: tuple[Step, ...]
    error: Exception

    def told(self) -> str:
        """The whole finding: `global 'LOCK' used by infer(): cannot pickle '_thread.lock' object`."""
        code = [step for step in self.steps if step.owner]
        if not code:
            return self.reason()
        users = "".join(f", which {step.owner}() uses" for step in reversed(code[:-1]))
        return f"{code[-1].label} used by {code[-1].owner}(){users}: {self.reason()}"

    def reason(self) -> str:
        """What is wrong and, inside of data, where: `cannot pickle '_thread.lock' object (at ['a'].lock)`."""
        last = max((index for index, step in enumerate(self.steps) if step.owner), default=-1)
        place = "".join(step.label for step in self.steps[last + 1 :])
        if isinstance(self.error, RecursionError) or "recursion" in str(self.error):
            said = "it is nested too deeply to be pickled"
        else:
            said = str(self.error) or type(self.error).__name__
        return said + (f" (at {place})" if place else "")


def find(value: Any, encode: Encode) -> Culprit | None:
    """Look for the innermost part of `value` that cannot be pickled; None where `value` can."""
    error = _failure(value, encode)
    if error is None:
        return None
    steps: list[Step] = []
    seen = {id(value)}
    tries = 0
    while len(steps) < _DEPTH:
        for step, part in _parts(value):
            tries += 1
            found = _failure(part, encode) if id(part) not in seen and tries < _TRIES else None
            if found is not None:
                steps.append(step)
                seen.add(id(part))
                value, error = part, found
                break
        else:
            break
    return Culprit(tuple(steps), error)


def _failure(value: Any, encode: Encode) -> Exception | None:
    try:
        encode(value)
    except Exception as error:  # noqa: BLE001 - the reducers of any class may raise anything
        return error
    return None


def _parts(value: Any) -> Iterator[tuple[Step, Any]]:
    match value:
        case FunctionType():
            if payload.travels_by_value(value):
                yield from _function_parts(value)
        case type():
            if payload.travels_by_value(value):
                yield from ((Step(f".{name}"), part) for name, part in value.__dict__.items())
        case dict():
            yield from ((Step(f"[{key!r:.40}]"), part) for key, part in list(value.items()))
            yield from ((Step(f" key {key!r:.40}"), key) for key in list(value))
        case list() | tuple():
            yield from ((Step(f"[{index}]"), part) for index, part in enumerate(value))
        case set() | frozenset():
            yield from ((Step(f" member {part!r:.40}"), part) for part in list(value))
        case _:
            yield from _object_parts(value)


def _function_parts(function: FunctionType) -> Iterator[tuple[Step, Any]]:
    owner = function.__qualname__.removeprefix("<locals>.")
    for name in payload.global_names(function.__code__):
        if name in function.__globals__:
            yield Step(f"global '{name}'", owner), function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield Step(f"variable '{name}'", owner), cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    code = function.__code__
    defaults = function.__defaults__ or ()
    named = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    for name, default in [*zip(named, defaults, strict=True), *(function.__kwdefaults__ or {}).items()]:
        yield Step(f"default value of '{name}'", owner), default
    for name, part in [*function.__dict__.items(), ("__annotations__", function.__annotations__)]:
        yield Step(f"attribute '{name}'", owner), part


def _object_parts(value: Any) -> Iterator[tuple[Step, Any]]:
    try:
        reduced = payload.reduced(value)
    except Exception:  # noqa: BLE001 - this very object cannot be taken apart, so it is the innermost
        return
    if isinstance(reduced, str):
        return
    state = reduced[2] if len(reduced) > 2 else None
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, dict):
            yield from ((Step(f".{name}"), inner) for name, inner in part.items())
        else:
            yield Step(""), part
    yield from ((Step(""), part) for part in reduced[1])
    items, pairs = (*reduced[3:], None, None)[:2]
    yield from ((Step(f"[{index}]"), part) for index, part in enumerate(items or ()))
    yield from ((Step(f"[{key!r:.40}]"), part) for key, part in pairs or ())
