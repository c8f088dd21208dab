"""The neutral encoding as a whole: every kind of value comes back, what has no form is named, bad bytes do nothing."""

import collections
import contextlib
import datetime as dt
import decimal
import fractions
import math
import pathlib
import socket
import subprocess
import sys
import uuid
import zoneinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.place import ROOT
from tests.support.pythons import find_python
from tests.worker_runtime.wire.hostile import payload_of
from tests.worker_runtime.wire.shapes import Colour, Frozen, Mode, Pair, Point, Rank
from worker_runtime.wire import PROTOCOL, neutral
from worker_runtime.wire.class_names import ClassNames, UnknownClass
from worker_runtime.wire.errors import CannotTravel, VersionMismatch, WireError

NAMES = ClassNames()

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**60, 2**400)
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs"]), max_size=4)
    | st.binary(max_size=600)
    | st.complex_numbers(allow_nan=False)
    | st.datetimes(timezones=st.none() | st.timezones() | st.just(dt.timezone(dt.timedelta(hours=-3), "x")))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.uuids()
    | st.sampled_from([*Colour, *Rank, *Mode, Mode(0), Mode.R | Mode.W, Frozen.Inner.ONE, ...])
    | st.sampled_from([pathlib.Path("/a/b"), pathlib.PurePosixPath("x"), pathlib.PureWindowsPath("c:\\x")])
    | st.builds(range, st.integers(), st.integers(), st.integers(1))
)
HASHABLE = st.recursive(
    SCALARS, lambda inner: st.tuples(inner) | st.frozensets(inner) | st.builds(Frozen, inner), max_leaves=4
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.sets(HASHABLE, max_size=3)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.binary().map(bytearray)
        | st.builds(Point, st.integers(), inner)
        | st.builds(Pair, st.integers(), inner)
        | st.dictionaries(st.text(), inner, max_size=2).map(collections.OrderedDict)
        | st.lists(inner, max_size=3).map(lambda items: collections.deque(items, 3))
        | st.lists(HASHABLE, max_size=3).map(collections.Counter)
        | st.dictionaries(HASHABLE, inner, max_size=2).map(lambda items: collections.defaultdict(list, items))
    ),
    max_leaves=8,
)


def there_and_back(value: Any, names: ClassNames = NAMES) -> Any:
    return neutral.decode(neutral.encode(value, names).data, names)


def shown(value: Any) -> str:
    """A text that differs where values or types within differ; sets in an order that does not depend on hashes."""
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({sorted(map(shown, value))})"
    if isinstance(value, tuple | list | collections.deque):
        return f"{type(value).__name__}({list(map(shown, value))})"
    if isinstance(value, dict):
        return f"{type(value).__name__}({[(shown(key), shown(item)) for key, item in value.items()]})"
    if isinstance(value, Point):
        return f"Point({shown(value.x)}, {shown(value.label)}, {value.made})"
    if isinstance(value, Frozen):
        return f"Frozen({shown(value.x)})"
    return f"{type(value).__name__}({value!r})"


@given(VALUES)
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    assert shown(there_and_back(value)) == shown(value)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, -0.0, decimal.Decimal("sNaN12"), -0.0 + math.inf * 1j]
)
def test_odd_numbers_come_back(value: Any) -> None:
    found = there_and_back(value)
    assert type(found) is type(value)
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        dt.time(1, 2, fold=1),
        slice(1, None, 2),
        uuid.UUID(int=7),
        fractions.Fraction(10**30, 7),
        1 << 20_000,
        "\ud800\udc00",
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_easily_lost_comes_back(value: Any) -> None:
    found = there_and_back(value)
    assert found == value
    assert getattr(found, "fold", 0) == getattr(value, "fold", 0)


def test_what_was_one_thing_stays_one() -> None:
    inner = [1]
    point = Point(1, inner)

    found = there_and_back([inner, inner, point, point, {"again": inner}])

    assert found[0] is found[1] is found[2].label is found[4]["again"]
    assert found[2] is found[3]


def test_a_thing_that_many_share_is_written_once() -> None:
    assert len(neutral.encode([b"x" * 10_000] * 100, NAMES).data) < 20_000


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([0, 1, Point(1, {"k": socket.socket})], r"\[2\]\.label\['k'\] is a type \(socket\)"),
        ({"f": print}, r"\['f'\] is a builtin_function_or_method \(print\)"),
        ({(1, print): 1}, r" key \(1, <built-in function print>\)\[1\] is a builtin"),
        (collections.defaultdict(lambda: 1), "is a defaultdict whose values are made by <lambda>"),
        (type("Local", (Exception,), {})(), "class Local is not what module"),
    ],
)
def test_what_has_no_form_is_named_with_the_way_to_it(value: Any, told: str) -> None:
    with pytest.raises(CannotTravel, match=told):
        neutral.encode(value, NAMES)


def test_what_contains_itself_is_said() -> None:
    inner: list[Any] = []
    inner.append({"again": inner})
    with pytest.raises(CannotTravel, match=r"\[0\]\['again'\] contains itself"):
        neutral.encode(inner, NAMES)


def test_values_may_be_nested_deeply_but_not_endlessly() -> None:
    deep: list[Any] = []
    for _ in range(neutral.DEPTH - 1):
        deep = [deep]
    assert there_and_back(deep) == deep
    with pytest.raises(CannotTravel, match="nested more than 200 levels") as caught:
        neutral.encode([[deep]], NAMES)
    assert len(str(caught.value)) < 200


# --- bad bytes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tree",
    [
        {"a": 1}, [], ["?"], ["=", 0], ["=", -1], ["=", True], ["int", "xyz"], ["float", "00"], ["str", "é"],
        ["bytes", 0],
        ["bytes", -1], ["list", ["=", 0]], ["dict", 1], ["dict", ["list"], 1], ["set", ["list"]], ["datetime", 1],
        ["datetime", 1, 1, 1, 1, 1, 1, 1, 0, "no zone"], ["zone", "../../etc/passwd"], ["path", "Path", 1],
        ["path", "open", "x"], ["defaultdict", "eval"], ["deque", -1], ["range", 1, 2, 0], ["Decimal", "x"],
        ["enum", ["builtins", "int"], "real"], ["exception", ["builtins", "int"], ["tuple"]],
        ["exception", ["builtins", "ValueError"], ["list"]], ["namedtuple", ["builtins", "tuple"], 1],
        ["dataclass", ["builtins", "object"]], ["dataclass", ["socket", "socket"]], ["dataclass", 0],
        ["model", ["builtins", "dict"], [], [], None, None], ["enum", ["os", "system"], "x"],
        ["dataclass", ["tests.worker_runtime.wire.shapes", "Plain"]],
    ],
    ids=str,
)  # fmt: skip
def test_a_tree_that_makes_no_sense_is_refused(tree: Any) -> None:
    with pytest.raises((WireError, UnknownClass)):
        neutral.decode(payload_of(tree), NAMES)


@given(st.binary(max_size=80))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        neutral.decode(b"FN\x01" + data, NAMES)


@given(st.data())
def test_damaged_payloads_are_refused_or_read_but_never_anything_else(data: st.DataObject) -> None:
    good = bytearray(neutral.encode([1, "a", b"x" * 300, Point(1), Colour.RED, {"k": (1.5,)}], NAMES).data)
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(3, len(good) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError, UnknownClass):
        neutral.decode(bytes(good), NAMES)


def test_a_cut_payload_is_refused() -> None:
    good = neutral.encode([b"x" * 1000], NAMES).data
    for end in range(2, len(good), 7):
        with pytest.raises(WireError):
            neutral.decode(good[:end], NAMES)


def test_another_protocol_is_refused() -> None:
    data = bytearray(neutral.encode(1, NAMES).data)
    data[2] += 1
    with pytest.raises(VersionMismatch, match="use one version on both sides"):
        neutral.decode(bytes(data), NAMES)


def test_a_tree_that_is_nested_endlessly_is_refused() -> None:
    tree = '["list",' * 100_000 + "1" + "]" * 100_000
    header = f'{{"python": "3.11", "value": {tree}, "sizes": []}}'.encode()
    with pytest.raises(WireError):
        neutral.decode(b"FN" + bytes([PROTOCOL]) + len(header).to_bytes(8, "little") + header, NAMES)


def test_the_writers_python_can_be_read() -> None:
    assert neutral.python_of(neutral.encode(1, NAMES).data) == f"{sys.version_info[0]}.{sys.version_info[1]}"


# --- another Python ---------------------------------------------------------------------------------------------------

ECHO = """
import sys
from worker_runtime.wire import encoding
data = sys.stdin.buffer.read()
sys.stdout.buffer.write(encoding.peer_of(data).encode(encoding.decode(data, encoding.ON_WORKERS)))
"""


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_another_python_reads_it_and_answers(version: str) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"Python {version} is not on this machine")
    value = [
        Colour.BLUE.value, 2**70, math.inf, {"p": pathlib.Path("/x")}, {1, 2}, b"y" * 1000, decimal.Decimal("1.50"),
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC), fractions.Fraction(1, 3), KeyError("k"), OSError(2, "no", "file"),
        range(3), "\ud800",
    ]  # fmt: skip
    folders = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    command = [python, "-S", "-c", f"import sys; sys.path[:0] = {folders!r}" + ECHO]
    done = subprocess.run(command, input=neutral.encode(value, NAMES).data, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert neutral.python_of(done.stdout) == version
    assert repr(neutral.decode(done.stdout, NAMES)) == repr(value)
