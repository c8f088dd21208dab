"""What can be batched: functions that take lists of the same length and give one; how their callers see them."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from runpod_flash.errors import CallError, ConfigError

_NOT_CALLED = ("close", "aclose")  # the worker calls them itself, when an object is dropped


def check_target(target: Any) -> None:
    """Raise ConfigError where a function, or a method of a class, cannot be batched."""
    for name, function, skipped in _functions(target):
        reason = _reason(function, skipped)
        if reason:
            raise ConfigError(
                f"batch= cannot be used for {name}(): {reason}. A batched function takes a list for each parameter, "
                "all of the same length, and returns a list of that length"
            )


def as_positional(signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """The arguments of a call that fits, each at the place of its parameter, as a batch puts them together."""
    return signature.bind(*args, **kwargs).args


def one_call(target: Any, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a batched function here, as a batch of one; of an `async def`, its coroutine.

    Raises:
        CallError: the function does not give a list of one.
    """
    value = target(*([each] for each in as_positional(signature, args, kwargs)))
    return _awaited(target, value) if inspect.iscoroutine(value) else _only(target, value)


async def _awaited(target: Any, rest: Any) -> Any:
    return _only(target, await rest)


def _only(target: Any, value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 1:
        raise CallError(
            f"{target.__name__}() is batched and gave {value!r:.80} for one call; it must give a list of one"
        )
    if isinstance(value[0], BaseException):
        raise value[0]
    return value[0]


def _functions(target: Any) -> Iterator[tuple[str, Any, int]]:
    """What will be called: its name, the function, and how many of its parameters are not the caller's."""
    if not inspect.isclass(target):
        yield target.__name__, target, 0
        return
    for name in dir(target):
        found = inspect.getattr_static(target, name)
        if (name == "__call__" or not name.startswith("_")) and name not in _NOT_CALLED:
            if inspect.isfunction(found):
                yield f"{target.__name__}.{name}", found, 1
            elif isinstance(found, staticmethod | classmethod):
                yield f"{target.__name__}.{name}", getattr(target, name), 0


def _reason(function: Any, skipped: int) -> str:
    """Why it cannot be batched; "" where it can."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "it is a generator"
    parameters = list(inspect.signature(function).parameters.values())[skipped:]
    if not parameters:
        return "it has no parameter, so that there is nothing to put together"
    for each in parameters:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            return f"parameter '{each.name}' takes any number of arguments; calls differ in that"
        if each.kind is each.KEYWORD_ONLY:
            return f"parameter '{each.name}' can be given by name alone"
        if each.default is not each.empty:
            return f"parameter '{each.name}' has a default; each call must give its own value"
    return ""
