"""Plain JSON finds its way to parameters."""

import enum
import json
from typing import Any

import pytest

from worker_runtime.plain_calls import Arguments, arguments
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.interface import FUNCTION, Interface, Parameter


def function(first, /, second=2, *, third=3):  # type: ignore[no-untyped-def]  # as users write them
    return first, second, third


def defaults(a=1, b=2, /, **rest):  # type: ignore[no-untyped-def]
    return a, b, rest


class Model:
    def own(self, a, /, b): ...  # type: ignore[no-untyped-def]

    @staticmethod
    def static(a, /, b): ...  # type: ignore[no-untyped-def]

    @classmethod
    def of_class(cls, a, /, b): ...  # type: ignore[no-untyped-def]


REST = (Parameter("rest", "rest", required=False),)


def placed(target: Any, method: str = FUNCTION, *, by_place: bool = False, **values: Any) -> Arguments:
    names = tuple(Parameter(name) for name in values)
    data = json.dumps({**values, **({"method": method} if method else {})}).encode()
    return arguments(target, Interface({method: names or REST}), data, by_place=by_place)


def test_what_has_a_place_alone_goes_there_and_all_else_by_name() -> None:
    assert placed(function, first=1, third=4) == ((1,), {"third": 4})
    assert placed(function, third=4, second=5, first=1) == ((1,), {"second": 5, "third": 4})
    assert placed(dict, a=1) == ((), {"a": 1})
    assert placed(function) == ((), {})


def test_what_is_left_out_before_another_has_its_default() -> None:
    assert placed(defaults, b=5) == ((1, 5), {})
    assert placed(defaults, a=5) == ((5,), {})
    assert placed(defaults, c=5) == ((), {"c": 5})


def test_a_batch_gets_all_by_place_in_their_order() -> None:
    assert placed(lambda a, b: None, by_place=True, b=2, a=1) == ((1, 2), {})
    assert placed(Model, "own", by_place=True, b=2, a=1) == ((1, 2), {})


@pytest.mark.parametrize("method", ["own", "static", "of_class"])
def test_methods_of_every_kind(method: str) -> None:
    assert placed(Model, method, a=1, b=2) == ((1,), {"b": 2})


def test_what_fits_no_call_never_gets_to_it() -> None:
    with pytest.raises(WireError, match=r"input\.a' is unknown"):
        arguments(function, Interface({FUNCTION: ()}), b'{"a": 1}', by_place=False)
    with pytest.raises(WireError, match="was not built to take plain JSON"):
        arguments(function, None, b"{}", by_place=False)


class Day(enum.Enum):
    MONDAY = "mon"


def typed(day: Day, days: set[Day]) -> None: ...


def in_lists(day: list[Day]) -> None: ...


def test_values_are_what_parameters_are_annotated_with() -> None:
    assert placed(typed, day="mon", days=["mon"]) == ((), {"day": Day.MONDAY, "days": {Day.MONDAY}})
    assert placed(in_lists, by_place=True, day="mon") == ((Day.MONDAY,), {})
    with pytest.raises(
        WireError, match=r"'input.day' is \"tue\", of which no Day can be made: ValueError: 'tue' is not"
    ):
        placed(typed, day="tue", days=[])
