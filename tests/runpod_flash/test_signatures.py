"""Which arguments Python would take, and what the refusal of others says. Any signature: see tests/acceptance."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from runpod_flash import signatures
from runpod_flash.errors import CallError
from runpod_flash.signatures import Parameters


def own(a: int, /, b: int = 2, *, c: str = "") -> None: ...


@functools.wraps(own)
def passing(*args: Any, **kwargs: Any) -> None: ...


@functools.wraps(own)
def injecting(c: int) -> None: ...


def catching(a: int, /, **rest: int) -> None: ...


class Twice:
    """Called from a class attribute, it gets no `self`."""

    def __call__(self, x: int) -> int:
        return 2 * x


class Kind:
    SIZE = 3

    class Inner: ...

    twice = Twice()
    partial = functools.partialmethod(lambda self, a, b: (a, b), 1)

    def __init__(self, size: int) -> None: ...

    def method(self, x: int, **rest: int) -> None: ...

    def all(*args: Any) -> None: ...

    @staticmethod
    def static(x: int) -> None: ...

    @classmethod
    def of_class(cls, x: int) -> None: ...

    @functools.singledispatchmethod
    def dispatched(self, x: Any) -> None: ...

    @property
    def state(self) -> int:
        return 1


class Made:
    def __new__(cls, size: int, *rest: int) -> "Made":
        return object.__new__(cls)

    def __init__(self, *anything: int) -> None: ...


class Empty: ...


class Numbers(dict[str, int]): ...


def method(name: str) -> Parameters | None:
    return signatures.of_method(Kind, name, vars(Kind)[name])


TAKEN: dict[str, tuple[Parameters | None, tuple[Any, ...], dict[str, Any]]] = {
    "a plain function": (signatures.of_function(own), (1,), {"b": 1, "c": "x"}),
    "a wrapper that passes all on": (signatures.of_function(passing), (1, 2, 3), {"d": 1}),
    "a wrapper that puts something in": (signatures.of_function(injecting), (1,), {}),
    "the name of a positional parameter": (signatures.of_function(catching), (1,), {"a": 2}),
    "a parameter called self": (signatures.of_function(lambda self: self), (), {"self": 1}),
    "a method": (method("method"), (1,), {"y": 2}),
    "one with self among others": (method("all"), (1, 2, 3), {}),
    "a static method": (method("static"), (1,), {}),
    "a class method": (method("of_class"), (1,), {}),
    "a partial method": (method("partial"), (2,), {}),
    "one of several for types": (method("dispatched"), (1,), {}),
    "an object that can be called": (method("twice"), (1,), {}),
    "a constructor": (signatures.of_class(Kind), (3,), {}),
    "one that makes": (signatures.of_class(Made), (3, 4), {}),
    "no constructor": (signatures.of_class(Empty), (), {}),
    "an exception's": (signatures.of_class(Exception), (1, 2), {}),
}
REFUSED: dict[str, tuple[Parameters | None, tuple[Any, ...], dict[str, Any], str]] = {
    "a keyword that is positional only": (signatures.of_function(own), (), {"a": 1}, "own(a: int, /, b: int = 2"),
    "too many": (signatures.of_function(own), (1, 2, 3), {}, "too many positional"),
    "one that is not there": (signatures.of_function(own), (1,), {"d": 3}, "'d'"),
    "the wrapper's, not the wrapped": (signatures.of_function(injecting), (1, 2), {}, "own(c: "),
    "a second self": (method("method"), (1,), {"self": 2}, "own(x: int, **rest: int)"),
    "none of a method": (method("method"), (), {}, "'x'"),
    "a keyword of a method without": (method("all"), (), {"x": 1}, "own(*args: Any)"),
    "a static one's self": (method("static"), (1, 2), {}, "own(x: int)"),
    "none of a partial method": (method("partial"), (), {}, "'b'"),
    "none of an object's": (method("twice"), (), {}, "own(x: int)"),
    "none of a constructor": (signatures.of_class(Kind), (), {}, "own(size: int)"),
    "none of one that makes": (signatures.of_class(Made), (), {}, "own(size: int, *rest: int)"),
    "one where there is no constructor": (signatures.of_class(Empty), (1,), {}, "own()"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_python_takes_passes(case: str) -> None:
    parameters, args, kwargs = TAKEN[case]
    if parameters is not None:  # some of those written in C do not tell
        parameters.check("own", args, kwargs)


@pytest.mark.parametrize("case", REFUSED)
def test_what_python_refuses_is_refused(case: str) -> None:
    parameters, args, kwargs, said = REFUSED[case]
    assert parameters is not None
    with pytest.raises(CallError) as refused:
        parameters.check("own", args, kwargs)
    assert said in str(refused.value)
    assert str(refused.value).endswith("; nothing was sent")


def test_what_does_not_tell_is_not_checked() -> None:
    assert signatures.of_class(Numbers) is None
    assert signatures.of_function(max) is None


def test_what_counts_as_a_method() -> None:
    methods = {name for name, defined in vars(Kind).items() if signatures.is_method(defined) and name[0] != "_"}
    assert methods == {"method", "all", "static", "of_class", "dispatched", "twice", "partial"}


def test_a_signature_set_by_hand_is_shown_to_others_and_does_not_count() -> None:
    def function(x: int) -> None: ...

    shown: Callable[..., None] = function
    shown.__signature__ = inspect.signature(own)  # type: ignore[attr-defined]
    found = signatures.of_function(function)
    assert found is not None
    found.check("function", (), {"x": 1})
    assert str(found) == "(x: int) -> None"
