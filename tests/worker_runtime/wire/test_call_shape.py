"""Whether a call that was written for one version of a function fits another."""

import json

import pytest

from worker_runtime.wire.call_shape import Shape, misfit
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.interface import FUNCTION, Interface, Parameter

A, B = Parameter("a"), Parameter("b", required=False)
C = Parameter("c", "named", required=False)
FIRST = Parameter("first", "positional")
REST = Parameter("more", "rest", required=False)


def fault(parameters: tuple[Parameter, ...], *placed: str, more: int = 0, **named: int) -> str | None:
    return misfit(Interface({FUNCTION: parameters}), None, Shape(placed, tuple(named), more))


def test_what_fits() -> None:
    assert fault((A, B, C), "a") is None
    assert fault((A, B, C), "a", "b", c=1) is None
    assert fault((A, B), b=1, a=1) is None
    assert fault((FIRST,), "called_otherwise") is None
    assert fault((A, REST), "a", anything=1) is None
    assert fault((A,), more=1) is None  # the caller's *args
    assert fault(()) is None


@pytest.mark.parametrize(
    ("parameters", "placed", "named", "said"),
    [
        ((A,), ("a", "b"), (), "it has no parameter 'b' as its number 2; it takes (a)"),
        ((A, B), ("b",), (), "its parameter number 1 is 'a', and not 'b'; it takes (a, b=…)"),
        ((A, Parameter("colour")), ("a",), ("color",), "it has no parameter 'color' (there is 'colour')"),
        ((A, C), (), ("c",), "its parameter 'a' is not filled; it takes (a, c=…)"),
        ((FIRST, REST), (), ("x",), "its parameter 'first' is not filled; it takes (first, **more)"),
        ((), ("a",), (), "it has no parameter 'a' as its number 1; it takes ()"),
    ],
)
def test_what_does_not(
    parameters: tuple[Parameter, ...], placed: tuple[str, ...], named: tuple[str, ...], said: str
) -> None:
    found = misfit(Interface({FUNCTION: parameters}), None, Shape(placed, named))
    assert found is not None
    assert found.startswith(said)


def test_methods() -> None:
    interface = Interface({"count": (A,)})
    assert misfit(interface, "count", Shape(("a",))) is None
    assert misfit(interface, "cuont", Shape(("a",))) == "it has no method 'cuont' (there is 'count')"
    assert misfit(interface, "close", Shape()) is None  # is not always listed


def test_a_shape_comes_back() -> None:
    shape = Shape(("a",), ("b", "c"), 2)
    assert Shape.from_json(json.loads(json.dumps(shape.to_json()))) == shape
    for bad in ({"placed": "a"}, {"named": [1]}, {"more": "1"}):
        with pytest.raises(WireError):
            Shape.from_json(bad)
