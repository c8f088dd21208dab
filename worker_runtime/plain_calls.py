"""Plain JSON becomes a call on the worker: which object has the function, and where its arguments go."""

import inspect
import json
from collections.abc import Mapping
from typing import Any

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.interface import Interface
from worker_runtime.wire.plain_input import Misfit, bind

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""(args, kwargs)"""


def shared_object(artifact: str) -> str:
    """The id of the object of a class that plain calls share: one for each worker, made without arguments."""
    return f"shared {artifact}"


def arguments(target: Any, interface: Interface | None, data: bytes, *, by_place: bool) -> Arguments:
    """The arguments of a call of a function, or of a method of a class.

    Args:
        data: the job's input as JSON.
        by_place: whether all go to their places, as a batch puts them together; else only those that must.

    Raises:
        WireError: the input fits no call.
    """
    if interface is None:
        raise WireError("the code was not built to take plain JSON")
    try:
        bound = bind(interface, json.loads(bytes(data)))
    except Misfit as error:
        raise WireError(str(error)) from None
    return _placed(_parameters(target, bound.method), bound.arguments, by_place=by_place)


def _parameters(target: Any, method: str | None) -> list[inspect.Parameter]:
    """Those that a caller fills."""
    function = target if method is None else getattr(target, method)
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a callable that says nothing of itself
        return []
    static = None if method is None else inspect.getattr_static(target, method)
    is_bound = method is None or isinstance(static, staticmethod | classmethod)
    return found if is_bound else found[1:]


def _placed(parameters: list[inspect.Parameter], values: Mapping[str, Any], *, by_place: bool) -> Arguments:
    rest = dict(values)
    placed = [each for each in parameters if each.kind is each.POSITIONAL_ONLY or (by_place and each.name in rest)]
    while placed and placed[-1].name not in rest:  # the last ones may be left out
        placed.pop()
    args = tuple(rest.pop(each.name) if each.name in rest else each.default for each in placed)
    return args, rest
