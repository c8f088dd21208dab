"""Values of JSON become what parameters are annotated with."""

import collections.abc
import dataclasses
import datetime
import enum
import json
import pathlib
import typing
import uuid
from decimal import Decimal
from typing import Any, NamedTuple

import pydantic
import pytest

from worker_runtime.typed_values import hints_of, made, of_one
from worker_runtime.wire import plain_json


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Point:
    at: datetime.date
    next: "Point | None" = None


class Cat(pydantic.BaseModel):
    name: str
    born: datetime.date


class Pair(NamedTuple):
    left: int
    right: Decimal


class Options(typing.TypedDict):
    name: str


T = typing.TypeVar("T")


@dataclasses.dataclass
class Box(typing.Generic[T]):
    inside: T


UserId = typing.NewType("UserId", uuid.UUID)
DAY = datetime.date(2020, 1, 2)

ROUND_TRIPS: list[tuple[Any, Any]] = [
    (datetime.datetime, datetime.datetime(2020, 1, 2, 3, tzinfo=datetime.UTC)),
    (datetime.date, DAY),
    (datetime.time, datetime.time(1, 2)),
    (datetime.timedelta, datetime.timedelta(seconds=1.5)),
    (Decimal, Decimal("1.10")),
    (UserId, uuid.UUID(int=1)),
    (pathlib.Path, pathlib.Path("/a")),
    (Colour, Colour.RED),
    (Level, Level.LOW),
    (Point, Point(DAY, Point(DAY))),
    (Cat, Cat(name="Minka", born=DAY)),
    (list[Cat], [Cat(name="Minka", born=DAY)]),
    (Pair, Pair(1, Decimal(2))),
    (set[Colour], {Colour.RED}),
    (frozenset, frozenset({1})),
    (tuple, (1, "a")),
    (tuple[int, datetime.date], (1, DAY)),
    (tuple[datetime.date, ...], (DAY, DAY)),
    (dict[Colour, list[datetime.date]], {Colour.RED: [DAY]}),
    (collections.abc.Mapping[str, Point], {"a": Point(DAY)}),
    (collections.abc.Sequence[Level], [Level.LOW]),
    (datetime.date | None, DAY),
    (typing.Optional[Point], None),  # noqa: UP045 - as users write it
    (int | datetime.date, DAY),
    (list[Point] | None, [Point(DAY)]),
    (Box[int], Box(1)),
]


@pytest.mark.parametrize(("kind", "value"), ROUND_TRIPS, ids=lambda each: str(each)[:40])
def test_what_leaves_as_json_comes_back(kind: Any, value: Any) -> None:
    found = made(kind, json.loads(plain_json.encode(value)))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Any, {"a": [1]}),
        (str, "2020-01-02"),
        (str | datetime.date, "2020-01-02"),
        (float, 1),
        (dict, {"a": 1}),
        (list, [1]),
        (Options, {"name": "a"}),
        (typing.Literal["a"], "a"),
        (object, [1]),
        (Colour, None),
        ("not there", 1),
        (T, 1),
    ],
    ids=str,
)
def test_what_has_no_other_form_stays_as_it_is(kind: Any, value: Any) -> None:
    assert made(kind, value) is value or made(kind, value) == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (datetime.date, "soon"),
        (Colour, "blue"),
        (bytes, "abc"),
        (Point, {"on": "2020-01-02"}),
        (Cat, {"name": 1}),
        (Cat, [1]),
        (tuple[int, int], [1]),
        (Pair, [1]),
        (int | datetime.date, "soon"),
    ],
)
def test_what_cannot_be_made_raises(kind: Any, value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        made(kind, value)


def test_annotations_that_name_nothing_say_nothing() -> None:
    def broken(a: "Absent") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert hints_of(broken) == {}
    assert hints_of(len) == {}
    assert (of_one(list[Colour]), of_one(list)) == (Colour, Any)
