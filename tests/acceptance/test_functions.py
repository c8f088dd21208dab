"""Whatever the user wrote in the file travels: every kind of function, each called on real workers."""

import pytest

from tests.support.place import Place

HEAD = """
import asyncio, functools, json, math
from collections import namedtuple
from dataclasses import dataclass
from enum import Enum
from runpod_flash import Endpoint

cpu = functools.partial(Endpoint, cpu="cpu3c-1-2", idle_timeout=120)
"""

KINDS = {
    "plain def": ("""
@cpu(name="k")
def f(x): return x + 1
""", "f(1)", "2"),
    "async def": ("""
@cpu(name="k")
async def f(x):
    await asyncio.sleep(0)
    return x * 2
""", "f(4)", "8"),
    "top-level import and constant": ("""
FACTOR = 3
@cpu(name="k")
def f(x): return math.floor(x * FACTOR)
""", "f(1.5)", "4"),
    "helper that calls a helper": ("""
def inner(x): return x + 10
def helper(x): return inner(x) * 2
@cpu(name="k")
def f(x): return helper(x)
""", "f(1)", "22"),
    "closure": ("""
def make(n):
    @cpu(name="k")
    def f(x): return x + n
    return f
f = make(100)
""", "f(1)", "101"),
    "lambda": ("""
f = cpu(name="k")(lambda x: x ** 2)
""", "f(7)", "49"),
    "a decorator of their own": ("""
def shout(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs): return str(function(*args, **kwargs)).upper() + "!"
    return wrapper
@cpu(name="k")
@shout
def f(x): return x
""", "f('hey')", "HEY!"),
    "recursion through the decorated name": ("""
@cpu(name="k")
def f(n): return 1 if n < 2 else n * f.local(n - 1) if hasattr(f, "local") else n * f(n - 1)
""", "f(5)", "120"),
    "default arguments": ("""
BASE = 5
@cpu(name="k")
def f(x, y=BASE, *rest, z=2, **named): return [x, y, rest, z, named]
""", "f(1)", "[1, 5, (), 2, {}]"),
    "args and keyword-only": ("""
@cpu(name="k")
def f(x, y=5, *rest, z=2, **named): return [x, y, rest, z, named]
""", "f(1, 2, 3, 4, z=None, w=9)", "[1, 2, (3, 4), None, {'w': 9}]"),
    "None": ("""
@cpu(name="k")
def f(x): return x is None
""", "f(None)", "True"),
    "a result of None": ("""
@cpu(name="k")
def f(): pass
""", "f()", "None"),
    "annotations of imported names": ("""
from typing import List
@cpu(name="k")
def f(xs: List[int]) -> List[int]: return sorted(xs)
""", "f([3, 1, 2])", "[1, 2, 3]"),
    "imports inside the body": ("""
@cpu(name="k")
def f(x):
    import base64
    return base64.b64encode(x)
""", "f(b'abc')", "b'YWJj'"),
    "a dataclass of the script there and back": ("""
@dataclass(frozen=True)
class Point:
    x: int
    def moved(self, n): return Point(self.x + n)
@cpu(name="k")
def f(p):
    assert isinstance(p, Point)
    return p.moved(2)
""", "f(Point(1))", "Point(x=3)"),
    "an enum and a named tuple of the script": ("""
class Colour(Enum):
    RED = 1
Pair = namedtuple("Pair", "a b")
@cpu(name="k")
def f(c): return Pair(c, c is Colour.RED)
""", "f(Colour.RED)", "Pair(a=<Colour.RED: 1>, b=True)"),
    "a generator consumed inside": ("""
def numbers(n):
    for i in range(n): yield i
@cpu(name="k")
def f(n): return sum(numbers(n))
""", "f(5)", "10"),
    "a key 'error' in the result": ("""
@cpu(name="k")
def f(): return {"error": "none", "flash": 1}
""", "f()", "{'error': 'none', 'flash': 1}"),
}  # fmt: skip


# What is like one of the others for a whole call: that code and values travel is tested kind by kind in test_shipping.
LIKE_OTHERS = {
    "helper that calls a helper", "lambda", "args and keyword-only", "None", "a result of None",
    "imports inside the body", "an enum and a named tuple of the script",
}  # fmt: skip


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind in LIKE_OTHERS else []) for kind in KINDS]
)
def test_every_kind_of_function(shared_place: Place, kind: str) -> None:
    definition, call, expected = KINDS[kind]
    done = shared_place.run_script(f"{HEAD}{definition}\nprint(asyncio.run({call}))")
    assert done.good().stdout.strip() == expected


def test_results_are_instances_of_the_very_classes_of_the_script(shared_place: Place) -> None:
    """Also on the second run, when the worker was warmed by the first."""
    script = f"""{HEAD}
@dataclass
class Point:
    x: int
class Oops(Exception): pass
@cpu(name="classes")
def f(p):
    assert type(p) is Point
    if p.x < 0: raise Oops(p)
    return Point(p.x + 1)
async def main():
    assert type(await f(Point(1))) is Point
    try:
        await f(Point(-1))
    except Oops as error:
        assert type(error.args[0]) is Point
        print("caught")
asyncio.run(main())
"""
    for _ in range(2):
        assert shared_place.run_script(script).good().stdout.strip() == "caught"


def test_local_modules_packages_and_their_data_travel(shared_place: Place) -> None:
    shared_place.write("tools.py", "from pack.deep import core\ndef twice(x): return core.double(x)\n")
    shared_place.write("pack/__init__.py", "")
    shared_place.write("pack/deep/__init__.py", "")
    shared_place.write(
        "pack/deep/core.py",
        """
        from importlib.resources import files
        from ..words import WORD
        def double(x):
            return [x, x, WORD, files("pack").joinpath("data.txt").read_text()]
        """,
    )
    shared_place.write("pack/words.py", "WORD = 'w'\n")
    shared_place.write("pack/data.txt", "data")
    script = f"""{HEAD}
import tools
@cpu(name="modules")
def top(x): return tools.twice(x)
@cpu(name="modules")
def inside(x):
    from pack.words import WORD
    import tools as t
    return [WORD, t.twice(x)[0]]
print(asyncio.run(top(1)), asyncio.run(inside(2)))
"""
    assert shared_place.run_script(script).good().stdout.strip() == "[1, 1, 'w', 'data'] ['w', 2]"


def test_a_function_of_an_imported_module(shared_place: Place) -> None:
    shared_place.write("library.py", f"{HEAD}\nSTEP = 4\n@cpu(name='library')\ndef f(x): return x + STEP\n")
    script = "import asyncio\nfrom library import f\nprint(asyncio.run(f(1)))"
    assert shared_place.run_script(script).good().stdout.strip() == "5"


def test_any_picklable_value_there_and_back(shared_place: Place) -> None:
    script = f"""{HEAD}
import datetime, decimal, pathlib, uuid
@cpu(name="values")
def same(*args, **kwargs): return args, kwargs
values = [b"\\0" * 3_000_000, "ü" * 1000, {{1: {{2}}}}, datetime.datetime(2026, 1, 1),
          decimal.Decimal("1.1"), pathlib.Path("/x"),
          uuid.UUID(int=5), float("inf"), 10 ** 200, (None, ...), [list(range(100_000))], print, dict]
args, kwargs = asyncio.run(same(*values, key=values))
assert list(args) == values and kwargs == {{"key": values}}
assert asyncio.run(same(math.sin))[0][0] is math.sin
assert asyncio.run(same(lambda x: x + 1))[0][0](1) == 2
print("same")
"""
    assert shared_place.run_script(script).good().stdout.strip() == "same"
