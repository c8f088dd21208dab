"""One id for equal code in every process, another for every difference that can be seen when it runs."""

import base64
import copy
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runpod_flash.identity import Identity, identify
from tests.support.place import ROOT
from worker_runtime.wire import payload


def namespace(source: str, name: str = "__main__", **more: Any) -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": name, **more}
    exec(compile(source, "<script>", "exec"), space)
    return space


def identity(source: str) -> Identity:
    return identify(namespace(source)["f"])


def of_value(value: Any) -> str:
    function = namespace("def f(): return VALUE")["f"]
    function.__globals__["VALUE"] = value
    return identify(function).code


BASE = """
import dataclasses, enum, functools
LIMIT = 3
def inner(x): return x + LIMIT
def helper(x): return inner(x)
def deco(times):
    def wrap(function):
        @functools.wraps(function)
        def run(*args): return [function(*args) for _ in range(times)]
        return run
    return wrap
class Meta(type):
    mark = 1
class Parent(metaclass=Meta):
    def go(self): return 1
class Child(Parent):
    limit = 10
    @property
    def shown(self): return "shown"
    @staticmethod
    def static(): return "static"
    @classmethod
    def made(cls): return "made"
@dataclasses.dataclass
class Data:
    x: int = 1
class Colour(enum.Enum):
    RED = 1
PART = functools.partial(inner, 4)
BOUND = Child().go
def make(n):
    def closure(): return n
    return closure
CLOSED = make(6)
@functools.lru_cache
def cached(): return "cached"
HANDLERS = {inner, helper}
@deco(2)
def f(x, y=5, *, z="kw") -> int:
    return helper(x), Child, Data, Colour.RED, PART, BOUND, CLOSED, cached, HANDLERS, lambda: 7
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("return x + LIMIT", "return x - LIMIT"),
        ("return inner(x)", "return inner(x) or 0"),
        ("for _ in range(times)", "for _ in range(times + 0)"),
        ("@deco(2)", "@deco(3)"),
        ("@deco(2)", ""),
        ("mark = 1", "mark = 2"),
        ("return 1", "return 2"),
        ("limit = 10", "limit = 11"),
        ('"shown"', '"hidden"'),
        ('"static"', '"dynamic"'),
        ('return "made"', 'return "born"'),
        ("x: int = 1", "x: int = 2"),
        ("x: int = 1", "x: float = 1"),
        ("RED = 1", "RED = 2"),
        ("RED = 1", "RED = 1; BLUE = 2"),
        ("(inner, 4)", "(inner, 5)"),
        ("(inner, 4)", "(helper, 4)"),
        ("make(6)", "make(7)"),
        ('"cached"', '"kept"'),
        ("@functools.lru_cache", "@functools.lru_cache(maxsize=1)"),
        ("{inner, helper}", "{inner, make}"),
        ("y=5", "y=6"),
        ('z="kw"', 'z="wk"'),
        ("-> int", "-> str"),
        ("lambda: 7", "lambda: 8"),
        ("def f(", "class Other: pass\nPART = Other\n@deco(2)\ndef f("),
    ],
)
def test_every_edit_counts(old: str, new: str) -> None:
    assert old in BASE
    assert identity(BASE.replace(old, new)).code != identity(BASE).code


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "# a comment\n\n\nLIMIT = 3"),
        ("LIMIT = 3", "LIMIT = 3\nUNUSED = 4\ndef unused(): pass"),
        ("def inner(x): return x + LIMIT", "def inner(x):\n    # why\n    return x + LIMIT"),
    ],
)
def test_what_does_not_count(old: str, new: str) -> None:
    assert identity(BASE.replace(old, new)).code == identity(BASE).code


def test_equal_in_a_process_with_another_hash_seed() -> None:
    ask = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "from tests.runpod_flash.test_identity import BASE, identity; print(identity(BASE).code)"
    )
    for seed in ("1", "2"):
        command = [sys.executable, "-c", ask, str(ROOT)]
        done = subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == identity(BASE).code


def test_modules_and_classes() -> None:
    found = identify(
        namespace(
            "import json, decimal\nfrom fractions import Fraction\nclass Own: pass\nclass Unused: pass\n"
            "def f(x: decimal.Decimal):\n import wave\n from . import sibling\n return json, Fraction, Own, Own()\n",
            __package__="pkg",
        )["f"]
    )
    assert {"json", "fractions", "decimal", "wave", "pkg", "pkg.sibling"} <= found.modules
    assert [kind.__name__ for kind in found.classes] == ["Own"]


def test_submodules_that_are_reached_as_attributes() -> None:
    assert "xml.dom" in identity("import xml.dom\ndef f(): return xml.dom.Node\n").modules


def test_code_that_can_be_imported_counts_by_its_name() -> None:
    found = identify(namespace("from textwrap import dedent\ndef f(): return dedent\n")["f"])
    assert "textwrap" in found.modules
    assert found.classes == ()


def test_recursion_and_mutual_reference() -> None:
    source = "def f(n): return g(n)\ndef g(n): return f(n), C\nclass C:\n  def m(self): return f, g, C\n  LIMIT = 1\n"
    assert identity(source).code == identity(source).code
    assert identity(source).code != identity(source.replace("LIMIT = 1", "LIMIT = 2")).code


def test_who_is_who_in_a_circle_counts() -> None:
    source = "def a(): return b\ndef b(): return a\ndef f(): return a, b\n"
    assert identity(source).code != identity(source.replace("return a, b", "return a, a")).code


class TestUnchanged:
    """`unchanged` says no after each change, and yes before."""

    SOURCE = """
import collections, functools
class Plain:
    def __init__(self): self.x = [1]
    shared = {"k": 1}
class Slots:
    __slots__ = ("x",)
    def __init__(self): self.x = 1
NUMBER, LIST, DICT, SET = 1, [1, [2]], {"a": {"b": 1}}, {1, 2}
PLAIN, SLOTS, COUNTER, BYTES = Plain(), Slots(), collections.Counter("a"), bytearray(b"a")
PART = functools.partial(dict, a=LIST)
def helper(x, y=LIST, *, z=DICT): return SET
helper.note = [1]
def make():
    n = 1
    def change(): nonlocal n; n += 1
    def closure(): return n
    return change, closure
change, closure = make()
def f(): return NUMBER, PLAIN, SLOTS, COUNTER, BYTES, PART, helper, closure, MISSING
"""

    CHANGES: tuple[Callable[[dict[str, Any]], Any], ...] = (
        lambda space: space.update(NUMBER=2),
        lambda space: space.update(NUMBER=True),
        lambda space: space.update(MISSING=None),
        lambda space: space["LIST"].append(3),
        lambda space: space["LIST"][1].append(3),
        lambda space: space["DICT"]["a"].update(b=2),
        lambda space: space["DICT"].update(c=2),
        lambda space: space["SET"].add(3),
        lambda space: space["PLAIN"].x.append(2),
        lambda space: setattr(space["PLAIN"], "y", 2),
        lambda space: setattr(space["PLAIN"], "__class__", type("Other", (), {})),
        lambda space: space["Plain"].shared.update(k=2),
        lambda space: setattr(space["Plain"], "__init__", lambda self: None),
        lambda space: setattr(space["SLOTS"], "x", 2),
        lambda space: space["COUNTER"].update("b"),
        lambda space: space["BYTES"].append(1),
        lambda space: setattr(space["helper"], "note", 2),
        lambda space: space["helper"].note.append(2),
        lambda space: setattr(space["helper"], "__defaults__", (1,)),
        lambda space: setattr(space["helper"], "__kwdefaults__", {"z": 1}),
        lambda space: setattr(space["helper"], "__code__", (lambda x, y, *, z: 1).__code__),
        lambda space: space["change"](),
        lambda space: space.update(helper=lambda: 1),
    )

    @pytest.mark.parametrize("index", range(len(CHANGES)))
    def test_change(self, index: int) -> None:
        space = namespace(self.SOURCE)
        before = identify(space["f"])
        assert before.unchanged()
        assert before.unchanged()
        self.CHANGES[index](space)
        assert not before.unchanged()
        assert identify(space["f"]).code != before.code

    def test_using_it_is_no_change(self) -> None:
        space = namespace(
            "import functools, enum, re\nclass Colour(enum.Flag):\n  A = 1\n  B = 2\n"
            "@functools.lru_cache\ndef cached(x): return x\nP = re.compile('a')\n"
            "class C:\n  @functools.cached_property\n  def size(self): return 1\n"
            "def f(): return cached(1), Colour.A | Colour.B, P.match('a'), C().size\n"
        )
        before = identify(space["f"])
        space["f"]()
        assert before.unchanged()
        assert identify(space["f"]).code == before.code


def test_what_a_value_raises_comes_through() -> None:
    space = namespace(
        "class Odd:\n  def __reduce__(self): raise LookupError('odd')\nODD = Odd()\ndef f(): return ODD\n"
    )
    with pytest.raises(LookupError, match="odd"):
        identify(space["f"])


# --- plain data, in two processes -------------------------------------------------------------------------------------

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=5)
    | st.binary(max_size=5)
)
HASHABLE = st.recursive(ATOMS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.sets(HASHABLE, max_size=4)
    ),
    max_leaves=12,
)

ANSWER = """
import base64, sys
sys.path.insert(0, sys.argv[1])
from tests.runpod_flash.test_identity import of_value
from worker_runtime.wire import payload
for line in sys.stdin:
    print(of_value(payload.decode(base64.b64decode(line))), flush=True)
"""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Callable[[Any], str]]:
    """Asks a process with another hash seed."""
    command = [sys.executable, "-c", ANSWER, str(ROOT)]
    process = subprocess.Popen(
        command, env={"PYTHONHASHSEED": "77"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(value: Any) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(base64.b64encode(payload.encode(value)).decode() + "\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    yield ask
    process.communicate(timeout=20)


def alike(one: Any, other: Any) -> bool:
    """Equal with equal types, all the way down; -0.0 is not 0.0, and nan is nan."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float | complex):
        return repr(one).replace("-nan", "nan") == repr(other).replace("-nan", "nan")
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return alike(list(one.items()), list(other.items()))
    if isinstance(one, set | frozenset):
        left = list(other)
        for member in one:
            match = next((index for index, found in enumerate(left) if alike(member, found)), None)
            if match is None:
                return False
            left.pop(match)
        return not left
    return bool(one == other)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_equal_values_have_equal_ids_in_two_processes(value: Any, elsewhere: Callable[[Any], str]) -> None:
    assert elsewhere(value) == of_value(value) == of_value(copy.deepcopy(value))


@settings(max_examples=300, deadline=None)
@given(pair=st.tuples(VALUES, VALUES) | st.tuples(ATOMS, ATOMS))
def test_unequal_values_have_unequal_ids(pair: tuple[Any, Any]) -> None:
    one, other = pair
    assert (of_value(one) == of_value(other)) is alike(one, other)


def test_the_same_object_twice_is_like_two_equal_ones() -> None:
    part = ["x", {"y": 1}]
    assert of_value([part, part]) == of_value([part, copy.deepcopy(part)])


def test_cycles_in_data() -> None:
    one: list[Any] = [1]
    one.append(one)
    other: list[Any] = [1]
    other.append({"a": other})
    assert of_value(one) == of_value(copy.deepcopy(one))
    assert of_value(one) != of_value(other)


def test_a_dag_takes_no_exponential_time() -> None:
    value: list[Any] = []
    for _ in range(100):
        value = [value, value]
    assert of_value(value)


def test_modules_count_by_name() -> None:
    assert of_value(types) != of_value(sys)
