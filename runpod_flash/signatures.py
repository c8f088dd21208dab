"""Which arguments a function, method or class takes, as Python itself binds them.

`inspect.signature` shows what an author wants to be seen: that of the function inside a wrapper, or one set by hand.
What a call binds to are the parameters of the outermost function, with `self` among them.
"""

import functools
import inspect
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from runpod_flash.errors import CallError

_FILLED_IN = object()
_BOUND_BY_THEMSELVES = (functools.partialmethod, functools.singledispatchmethod)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a call is bound to.

    Attributes:
        signature: all parameters.
        filled_in: how many of them, from the left, Python fills in: `self` or `cls`.
    """

    signature: inspect.Signature
    filled_in: int = 0
    _by_place: tuple[int, int] = field(init=False, repr=False, compare=False)  # how few and how many by place alone

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_place", _counts(self.signature, self.filled_in))

    def check(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raise CallError, about a call of `name`, where Python would not take these arguments."""
        if not kwargs and self._by_place[0] <= len(args) <= self._by_place[1]:
            return
        try:
            self.signature.bind(*(_FILLED_IN,) * self.filled_in, *args, **self._bindable(kwargs))
        except TypeError as error:
            raise CallError(f"{name}{self} was called wrongly: {error}; nothing was sent") from None

    def _bindable(self, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The keywords without those that only `**kwargs` can take, which `bind` of some Python versions refuses."""
        parameters = self.signature.parameters.values()
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            return kwargs
        positional = {each.name for each in parameters if each.kind is each.POSITIONAL_ONLY}
        return {name: value for name, value in kwargs.items() if name not in positional}

    @property
    def of_callers(self) -> inspect.Signature:
        """The signature as callers see it: without what Python fills in."""
        shown = list(self.signature.parameters.values())
        named = [each for each in shown[: self.filled_in] if each.kind is not each.VAR_POSITIONAL]
        return self.signature.replace(parameters=shown[len(named) :])

    def __str__(self) -> str:
        return str(self.of_callers)


def _counts(signature: inspect.Signature, filled_in: int) -> tuple[int, int]:
    """How few and how many arguments are right where all are given by their places."""
    least = most = 0
    for each in signature.parameters.values():
        required = each.default is each.empty
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD):
            least, most = least + required, most + 1
        elif each.kind is each.VAR_POSITIONAL:
            most = sys.maxsize
        elif each.kind is each.KEYWORD_ONLY and required:
            return 1, 0  # never by their places alone
    return least - filled_in, most - filled_in


def of_function(function: Any) -> Parameters | None:
    """The parameters of a function or another callable; None where it does not tell."""
    return _parameters(function, 0)


def of_method(kind: type, name: str, defined: Any) -> Parameters | None:
    """The parameters of the method of an object of `kind`, which its class or a base has `defined` so."""
    if isinstance(defined, types.FunctionType):
        return _parameters(defined, 1)
    if isinstance(defined, classmethod):
        return _parameters(defined.__func__, 1)
    if isinstance(defined, staticmethod):
        return _parameters(defined.__func__, 0)
    if isinstance(defined, _BOUND_BY_THEMSELVES):
        return _parameters(defined.__get__(_FILLED_IN, kind), 0)
    return _parameters(getattr(kind, name), 0)


def of_class(kind: type) -> Parameters | None:
    """The parameters of a constructor; None where it does not tell."""
    if type(kind).__call__ is type.__call__:
        for function in (getattr(kind, name) for name in ("__new__", "__init__")):
            if isinstance(function, types.FunctionType):
                return _parameters(function, 1)
    return _parameters(kind, 0)


def is_method(defined: Any) -> bool:
    """Whether what a class has `defined` under a name is called on its objects."""
    kinds = (staticmethod, classmethod, *_BOUND_BY_THEMSELVES)
    return isinstance(defined, kinds) or (callable(defined) and not inspect.isclass(defined))


def check(name: str, parameters: Parameters | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raise CallError where Python would not take the arguments. They are sent as given, defaults not filled in."""
    if parameters is not None:
        parameters.check(name, args, kwargs)


def mark_as_coroutine_function(forms: Any) -> None:
    """Let `inspect.iscoroutinefunction` say yes to an object."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(forms)
        return
    stub = cast(types.FunctionType, _coroutine_function)  # Python 3.11 goes by the code object's flag
    forms.__code__, forms.__defaults__, forms.__kwdefaults__ = stub.__code__, None, None


async def _coroutine_function() -> None:
    """Lends its code object to what shall count as a coroutine function."""


def _parameters(target: Any, filled_in: int) -> Parameters | None:
    try:
        own = _bare(target) if isinstance(target, types.FunctionType) else target
        return Parameters(inspect.signature(own, follow_wrapped=False), filled_in)
    except ValueError:  # something written in C that does not tell
        return None


def _bare(function: types.FunctionType) -> types.FunctionType:
    """The function without what hides its own parameters: `__wrapped__`, `__signature__`."""
    bare = types.FunctionType(function.__code__, {}, function.__name__, function.__defaults__, function.__closure__)
    bare.__kwdefaults__ = function.__kwdefaults__
    bare.__annotations__ = function.__annotations__
    return bare
