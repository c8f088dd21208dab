"""Plain JSON becomes a call on the worker: which object has the function, and where its arguments go."""

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker_runtime.typed_values import hints_of, made, of_one
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.interface import Interface
from worker_runtime.wire.plain_input import bind

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""(args, kwargs)"""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a function, or a method of a class, says of its parameters: those that a caller fills, and their types."""

    parameters: tuple[inspect.Parameter, ...]
    hints: Mapping[str, Any]


def needs_nothing(kind: type) -> bool:
    """Whether an object can be made without arguments, as far as a class tells: else plain calls have none to share."""
    try:
        inspect.signature(kind).bind()
    except ValueError:  # it does not tell
        return True
    except TypeError:
        return False
    return True


def arguments(
    target: Any,
    interface: Interface | None,
    data: bytes,
    *,
    by_place: bool,
    known: dict[str | None, Taken] | None = None,
) -> Arguments:
    """The arguments of a call of a function, or of a method of a class.

    Args:
        data: the job's input as JSON.
        by_place: whether all go to their places, as a batch puts them together; else only those that must.
        known: what was found of the target before, by method; what is found now is put there.

    Raises:
        WireError: the input fits no call.
    """
    if interface is None:
        raise WireError("the code was not built to take plain JSON")
    try:
        bound = bind(interface, json.loads(bytes(data)))
    except (ValueError, RecursionError) as error:  # the border has looked at it
        raise WireError(str(error)) from None
    taken = None if known is None else known.get(bound.method)
    if taken is None:
        taken = _taken(target, bound.method)
        if known is not None:
            known[bound.method] = taken
    values = _typed(taken.hints, bound.arguments, in_lists=by_place)
    return _placed(taken.parameters, values, by_place=by_place)


def _taken(target: Any, method: str | None) -> Taken:
    function = target if method is None else getattr(target, method)
    return Taken(tuple(_parameters(target, function, method)), hints_of(function))


def _typed(hints: Mapping[str, Any], values: Mapping[str, Any], *, in_lists: bool) -> dict[str, Any]:
    return {name: _as_annotated(name, hints.get(name, Any), value, in_lists) for name, value in values.items()}


def _as_annotated(name: str, kind: Any, value: Any, in_lists: bool) -> Any:
    try:
        return made(of_one(kind) if in_lists else kind, value)
    except Exception as error:  # noqa: BLE001 - the user's own classes are made here
        given = f"{json.dumps(value, ensure_ascii=False):.80}"
        raise WireError(
            f"field 'input.{name}' is {given}, of which no {_said(kind)} can be made: {type(error).__name__}: {error}"
        ) from None


def _said(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _parameters(target: Any, function: Any, method: str | None) -> list[inspect.Parameter]:
    """Those that a caller fills."""
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a callable that says nothing of itself
        return []
    static = None if method is None else inspect.getattr_static(target, method)
    is_bound = method is None or isinstance(static, staticmethod | classmethod)
    return found if is_bound else found[1:]


def _placed(parameters: Sequence[inspect.Parameter], values: Mapping[str, Any], *, by_place: bool) -> Arguments:
    rest = dict(values)
    placed = [each for each in parameters if each.kind is each.POSITIONAL_ONLY or (by_place and each.name in rest)]
    while placed and placed[-1].name not in rest:  # the last ones may be left out
        placed.pop()
    args = tuple(rest.pop(each.name) if each.name in rest else each.default for each in placed)
    return args, rest
