"""Objects of the user's classes: by the names of their classes, made without running them."""

import asyncio
import json
import subprocess
import sys
from typing import Any

import pydantic
import pytest

from tests.worker_runtime.wire import shapes
from tests.worker_runtime.wire.shapes import Box, Checked, Colour, Frozen, Mode, Model, Oops, Pair, Plain, Point, Root
from worker_runtime.wire import neutral
from worker_runtime.wire.class_names import ClassNames, UnknownClass
from worker_runtime.wire.errors import CannotTravel, WireError

NAMES = ClassNames()


def there_and_back(value: Any) -> Any:
    return neutral.decode(neutral.encode(value, NAMES).data, NAMES)


def test_a_dataclass_comes_back_as_it_is_not_as_it_was_made() -> None:
    point = Point(1)
    point.made, point.__dict__["more"] = False, [Frozen((1, 2))]

    found = there_and_back(point)

    assert found == point
    assert found.made is False  # __post_init__ did not run
    assert found.more == [Frozen((1, 2))]


@pytest.mark.parametrize("value", [*Colour, Mode.R, Mode(0), Mode.R | Mode.W, shapes.Rank.LOW, Frozen.Inner.ONE])
def test_members_of_enums_are_the_same_members(value: Any) -> None:
    assert there_and_back(value) is value


def test_named_tuples_come_back() -> None:
    found = there_and_back(Pair(1, [Pair(2)]))
    assert found == Pair(1, [Pair(2)])
    assert type(found) is Pair


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a", 1), KeyError("k"), OSError(2, "no such thing", "name"), Oops(7, "why"), SystemExit(3),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), ExceptionGroup("two", [ValueError(1), Oops(1, "x")]),
        StopIteration(5), asyncio.CancelledError(), json.JSONDecodeError("bad", "{", 1), ImportError("x", name="n"),
        subprocess.CalledProcessError(2, ["ls"], b"out"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_exceptions_come_back_with_all_that_they_carry(error: BaseException) -> None:
    error.add_note("a note")
    found = there_and_back(error)
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert repr(found) == repr(error)
    assert {name: repr(value) for name, value in vars(found).items()} == {
        name: repr(value) for name, value in vars(error).items()
    }
    for name in ("code", "errno", "filename", "start", "value", "name", "returncode"):
        assert getattr(found, name, None) == getattr(error, name, None)


def test_models_come_back_without_being_validated_again() -> None:
    model = Model(n=1, extra="kept", other={"inner": Model(n=5)})
    model._secret = (1, 2)

    found = there_and_back(model)

    assert found == model
    assert found.n == 2  # grown once, by the first validation
    assert found.extra == "kept"
    assert found._secret == (1, 2)
    assert found.model_fields_set == model.model_fields_set
    assert found.model_dump() == model.model_dump()


@pytest.mark.parametrize(
    "value", [Box[int](inside=1), Box[Point](inside=Point(1)), Box(inside="x"), Root([1]), Checked(2)]
)
def test_models_of_all_kinds_come_back(value: Any) -> None:
    found = there_and_back(value)
    assert found == value
    assert type(found) is type(value)


def test_a_generic_model_of_what_is_no_class_is_refused() -> None:
    with pytest.raises(CannotTravel, match=r"of the generic type Box\[list\[int\]\], of which list\[int\] is no class"):
        neutral.encode(Box[list[int]](inside=[1]), NAMES)


def test_what_a_model_holds_that_has_no_form_is_named() -> None:
    with pytest.raises(CannotTravel, match=r"^\.other\[0\] is a type \(int\)$"):
        neutral.encode(Model(n=1, other=[int]), NAMES)


class _Box(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    held: Any


def test_an_object_of_another_class_is_refused_without_its_own_pickling() -> None:
    plain = Plain()
    Plain.ran = False
    with pytest.raises(CannotTravel, match=r"^\.held is a tests\.worker_runtime\.wire\.shapes\.Plain$"):
        neutral.encode(_Box(held=plain), NAMES)
    assert not Plain.ran


def swapped(value: Any, old: str, new: str) -> bytes:
    """The payload of a value with another class in the place of its own."""
    data = neutral.encode(value, NAMES).data
    start = 11
    header = json.loads(data[start:])
    text = json.dumps(header).replace(f'"{old}"', f'"{new}"').encode()
    return data[:3] + len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    ("value", "old"), [(Point(1), "Point"), (Pair(1), "Pair"), (Oops(1, "x"), "Oops"), (Colour.RED, "Colour")]
)
def test_a_class_of_another_kind_is_never_made(value: Any, old: str) -> None:
    Plain.ran = False
    with pytest.raises(WireError):
        neutral.decode(swapped(value, old, "Plain"), NAMES)
    assert not Plain.ran


def test_a_class_that_is_gone_here_is_said() -> None:
    with pytest.raises(UnknownClass, match=r"module 'tests\.worker_runtime\.wire\.shapes' has no class Gone here"):
        neutral.decode(swapped(Point(1), "Point", "Gone"), NAMES)


def test_a_named_tuple_with_other_fields_here_is_said() -> None:
    with pytest.raises(WireError, match="has not these 2 fields"):
        neutral.decode(swapped(Pair(1), "Pair", "Triple"), ClassNames())


class _Triple(tuple[Any, ...]):
    _fields = ("a", "b", "c")


@pytest.fixture(autouse=True)
def _triple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[shapes.__name__], "Triple", _Triple, raising=False)


def test_the_modules_of_the_classes_are_told() -> None:
    assert neutral.encode([Point(1), ValueError()], NAMES).modules == {shapes.__name__, "builtins"}
