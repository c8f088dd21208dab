"""What functions give, as plain JSON."""

import dataclasses
import datetime
import enum
import json
import math
import pathlib
import uuid
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_runtime.wire import plain_json
from worker_runtime.wire.errors import CannotTravel

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Point:
    x: float
    tags: set[str]


class Cat(pydantic.BaseModel):
    name: str
    born: datetime.date
    where: Point


Pair = namedtuple("Pair", "a b")


class Text(str):
    def __str__(self) -> str:
        return "another"


@given(JSON)
def test_json_stays_as_it_is(value: Any) -> None:
    assert json.loads(plain_json.encode(value)) == value


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ((1, [2]), [1, [2]]),
        (Pair(1, 2), [1, 2]),
        (frozenset({1}), [1]),
        (range(2), [0, 1]),
        (deque([1]), [1]),
        (OrderedDict(b=1), {"b": 1}),
        ({1: "a", None: "b", False: "c", Colour.RED: "d"}, {"1": "a", "null": "b", "false": "c", "red": "d"}),
        ({2.5: "e"}, {"2.5": "e"}),
        ({uuid.UUID(int=1): 1}, {"00000000-0000-0000-0000-000000000001": 1}),
        (Colour.RED, "red"),
        (Level.LOW, 1),
        (Text("mine"), "mine"),
        (datetime.datetime(2020, 1, 2, 3, tzinfo=datetime.UTC), "2020-01-02T03:00:00+00:00"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        (datetime.timedelta(minutes=1), 60.0),
        (Decimal("1.10"), "1.10"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (Point(0.5, {"a"}), {"x": 0.5, "tags": ["a"]}),
        (
            Cat(name="Minka", born=datetime.date(2020, 1, 2), where=Point(1, set())),
            {"name": "Minka", "born": "2020-01-02", "where": {"x": 1, "tags": []}},
        ),
    ],
)
def test_what_has_one_obvious_form_takes_it(value: Any, plain: Any) -> None:
    assert json.loads(plain_json.encode(value)) == plain


def endless() -> Any:
    inside: list[Any] = []
    inside.append(inside)
    return inside


def deep() -> Any:
    value: Any = None
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("make", "path", "words"),
    [
        (
            lambda: {"image": [b"x"]},
            "['image'][0]",
            "is bytes, which JSON has no form for; return text, such as base64",
        ),
        (lambda: Point(bytearray(), set()), ".x", "is bytearray"),  # type: ignore[arg-type]
        (lambda: [math.nan], "[0]", "is nan"),
        (lambda: {"a": -math.inf}, "['a']", "is -inf"),
        (lambda: "\ud800", "", "has halves of characters"),
        (lambda: {"\ud800": 1}, "['\\ud800']", "has halves of characters"),
        (lambda: object(), "", "is a object, which has no form in JSON; return plain data"),
        (lambda: (each for each in "a"), "", "is a generator"),
        (lambda: 1j, "", "is a complex"),
        (lambda: {(1, 2): 3}, "[(1, 2)]", "is a key of type tuple"),
        (lambda: {1: 0, "1": 0}, "", "has two keys that JSON writes as '1'"),
        (endless, "", "is nested too deeply"),
        (deep, "", "is nested too deeply"),
    ],
)
def test_what_has_no_form_is_refused_by_its_place(make: Callable[[], Any], path: str, words: str) -> None:
    with pytest.raises(CannotTravel) as caught:
        plain_json.encode(make())
    assert caught.value.path == path
    assert words in caught.value.what
