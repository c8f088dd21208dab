"""What the user wrote runs in an interpreter that has never seen it, under one id in every run of the program."""

import io
import sys
import threading
import timeit
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_flash import shipping
from runpod_flash.errors import NotPicklable
from runpod_flash.shipping import Artifact, Shipper
from tests.runpod_flash.bare_python import BarePython, program
from worker_runtime.wire import paths, payload
from worker_runtime.wire.specs import EnvironmentRequest

KINDS = """
import abc, asyncio, collections, dataclasses, enum, functools, json, math, typing
import pydantic

FACTOR = 3
TABLE = {"a": [1, 2], "b": {"c": {3, 1, 2}}}
Users = typing.NewType("Users", int)
T = typing.TypeVar("T")

def helper(x): return inner(x) * FACTOR
def inner(x): return x + TABLE["a"][1]

def plain(x, y=FACTOR, *rest, z=2, **named) -> "list[int]": return [x, y, rest, z, named]
def helped(x): return helper(x)
async def slow(x):
    await asyncio.sleep(0)
    return x
def generator(n):
    yield from range(n)
def make(n):
    def closure(x): return x + n
    return closure
shared = {"n": 1}
def nested():
    class Local:
        y = FACTOR
        def get(self): return self.y + Local.y
    return [Local().get() for _ in range(2)]
def recursive(n): return 1 if n < 2 else n * recursive(n - 1)

def shout(function):
    @functools.wraps(function)
    def wrapper(*args): return function(*args).upper() + "!"
    return wrapper
@shout
def decorated(x): return x
@functools.lru_cache
def cached(x): return x + FACTOR
def uses_cached(x): return cached(x)
@functools.singledispatch
def kind_of(x): return "any"
@kind_of.register
def _(x: int): return "int"
def dispatch(): return kind_of(1) + kind_of("")
def annotated(x: Users, y: typing.List[T] = None) -> "Users": return Users(x)

class Base(abc.ABC):
    @abc.abstractmethod
    def name(self): ...
    @property
    def shown(self): return "<" + self.name() + ">"
class Derived(Base):
    registry = []
    def __init__(self, n): self.n = n
    def name(self): return f"{self.n}" + helper.__name__
    @classmethod
    def of(cls, n): return cls(n)
    @staticmethod
    def twice(n): return n * 2
    @functools.cached_property
    def size(self): return len(self.shown)
def methods(n): return Derived.of(Derived.twice(n)).shown, Derived(n).size

@dataclasses.dataclass
class Point:
    x: int
    tags: list = dataclasses.field(default_factory=list)
@dataclasses.dataclass(slots=True, frozen=True)
class Slotted:
    x: int
class Colour(enum.Enum):
    RED = 1
    BLUE = "b"
    def shown(self): return self.name.lower()
class Mode(enum.Flag):
    R = enum.auto()
    W = enum.auto()
class Pair(typing.NamedTuple):
    a: int
    b: str = "b"
class Options(typing.TypedDict):
    size: int
class Named(typing.Protocol):
    def name(self) -> str: ...
class Box(typing.Generic[T]):
    def put(self, x: T) -> T: return x
class Model(pydantic.BaseModel):
    n: int
    many: list[int] = []
    @pydantic.field_validator("n")
    @classmethod
    def grow(cls, value): return value + 1
class Meta(type):
    def __new__(mcs, name, bases, space): return super().__new__(mcs, name, bases, {**space, "made": FACTOR})
class WithMeta(metaclass=Meta): pass
class Oops(Exception):
    def __init__(self, code): super().__init__(code); self.code = code

def classes(): return (Point(1).tags, Slotted(2), Colour("b").shown(), Mode.R | Mode.W, Pair(1), Options(size=1),
                       Named.__name__, Box[int]().put(5), Model(n=1).n, WithMeta.made)
def given(point, colour): return point, colour is Colour.RED, point.__class__ is Point
def fails(code): raise Oops(code)
HANDLERS = {plain, recursive, shout}
POINT = Point(7, ["t"])
COUNTS = collections.Counter("hello")
def captured(): return len(HANDLERS), POINT, sorted(COUNTS.items()), math.floor(1.5)
from os import path as renamed
def aliased(): return renamed.basename("/a/b")
def uses_global_writes():
    global WRITTEN
    WRITTEN = WRITTEN + 1
    return WRITTEN
WRITTEN = 1

CALLS = {
    "plain": (plain, (1,), {}), "keywords": (plain, (1, 2, 3), {"z": None, "w": 9}), "helped": (helped, (1,), {}),
    "slow": (slow, (4,), {}), "generator": (generator, (3,), {}), "closure": (make(100), (1,), {}),
    "nested": (nested, (), {}), "recursive": (recursive, (5,), {}), "decorated": (decorated, ("hey",), {}),
    "lambda": (lambda x: x ** FACTOR, (2,), {}), "uses_cached": (uses_cached, (1,), {}),
    "dispatch": (dispatch, (), {}), "annotated": (annotated, (1,), {}), "methods": (methods, (2,), {}),
    "classes": (classes, (), {}), "given": (given, (Point(1), Colour.RED), {}), "fails": (fails, (7,), {}),
    "captured": (captured, (), {}), "aliased": (aliased, (), {}), "writes": (uses_global_writes, (), {}),
    "class": (Derived, (5,), {}), "static": (Derived.twice, (5,), {}),
}
print(_json.dumps({name: _ship(target, name, args, kwargs) for name, (target, args, kwargs) in CALLS.items()}))
"""

EXPECTED = {
    "plain": "[1, 3, (), 2, {}]",
    "keywords": "[1, 2, (3,), None, {'w': 9}]",
    "helped": "9",
    "slow": "4",
    "generator": "[0, 1, 2]",
    "closure": "101",
    "nested": "[6, 6]",
    "recursive": "120",
    "decorated": "'HEY!'",
    "lambda": "8",
    "uses_cached": "4",
    "dispatch": "'intany'",
    "annotated": "1",
    "methods": "('<4helper>', 9)",
    "classes": "([], Slotted(x=2), 'blue', <Mode.R|W: 3>, Pair(a=1, b='b'), {'size': 1}, 'Named', 5, 2, 3)",
    "given": "(Point(x=1, tags=[]), True, True)",
    "fails": "Oops: 7",
    "captured": "(3, Point(x=7, tags=['t']), [('e', 1), ('h', 1), ('l', 2), ('o', 1)], 1)",
    "aliased": "'b'",
    "writes": "2",
    "class": "'5helper'",
    "static": "10",
}


def ship(target: Any, shipper: Shipper | None = None) -> Artifact:
    return (shipper or Shipper()).ship(target, name="f", environment=EnvironmentRequest("3.11"), max_concurrency=1)


def main_namespace(source: str) -> dict[str, Any]:
    """The globals that a script of this text would have."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "<script>", "exec"), space)
    return space


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[BarePython]:
    bare = BarePython(tmp_path / "unpacked")
    yield bare
    bare.close()


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All kinds shipped by a first run of the program, and called."""
    folder = tmp_path_factory.mktemp("kinds")
    shipped = program(folder, KINDS, out=folder / "out", seed=1)
    bare = BarePython(folder / "unpacked")
    for name, told in shipped.items():
        method = {"method": "name"} if name == "class" else {}
        told["answer"] = bare.call(folder / "out" / f"{name}.artifact", **method)
    bare.close()
    return shipped


@pytest.mark.parametrize("name", EXPECTED)
def test_runs_where_it_was_never_seen(kinds: dict[str, Any], name: str) -> None:
    assert kinds[name]["answer"] in ({"value": EXPECTED[name]}, {"error": EXPECTED[name]})
    assert kinds[name]["entry"] is None


@pytest.mark.parametrize("how", ["file", "stdin", "command"])
def test_second_run_has_the_same_ids(kinds: dict[str, Any], tmp_path: Path, how: str) -> None:
    """Another hash seed, another folder, other lines; a file, a pipe or `python -c`."""
    source = "# a comment\n\n" + KINDS
    again = program(tmp_path, source, out=tmp_path / "out", seed=2, how=how, name="moved.py")
    assert {name: told["id"] for name, told in again.items()} == {name: told["id"] for name, told in kinds.items()}


def test_repl(tmp_path: Path, bare: BarePython) -> None:
    source = """
    K = 5
    def f(x):
        return x + K

    print(_json.dumps(_ship(f, 'f', (1,))))
    """
    typed = program(tmp_path, source, out=tmp_path / "out", how="repl")
    assert bare.call(tmp_path / "out" / "f.artifact") == {"value": "6"}
    assert program(tmp_path, source, out=tmp_path / "out")["id"] == typed["id"]


LIBRARY = {
    "helper.py": "import shapes\nSCALE = 2\ndef area(x):\n    return shapes.Square(x).area() * SCALE\n",
    "shapes.py": "class Square:\n    def __init__(self, x): self.x = x\n    def area(self): return self.x ** 2\n"
    "    def __repr__(self): return f'Square({self.x})'\n",
    "pkg/__init__.py": "",
    "pkg/core.py": "from pathlib import Path\nfrom . import names\n"
    "def read(): return (Path(__file__).parent / 'data' / 'words.txt').read_text() + names.NAME\n"
    "class Job:\n    class Part:\n        def __init__(self, x): self.x = x\n        def go(self): return self.x + 1\n",
    "pkg/names.py": "NAME = 'n'\n",
    "pkg/data/words.txt": "words",
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


LIBRARY_CALLS = """
import helper, pkg.core
from helper import area
def by_module(x): return helper.area(x)
def by_import(x):
    from pkg import core
    return core.read()
by_value = lambda x: area(x)
def takes(thing): return thing.area()
CALLS = {"named": (helper.area, (3,)), "part": (pkg.core.Job.Part, (1,)), "by_module": (by_module, (3,)),
         "by_import": (by_import, (0,)), "by_value": (by_value, (3,)),
         "attribute": (lambda x: pkg.core.read(), (0,)), "takes": (takes, (helper.shapes.Square(3),))}
print(_json.dumps({name: _ship(target, name, args) for name, (target, args) in CALLS.items()}))
"""


def test_local_modules_travel_as_files(tmp_path: Path, bare: BarePython) -> None:
    project, out = tmp_path / "project", tmp_path / "out"
    write(project, LIBRARY)
    shipped = program(project, LIBRARY_CALLS, out=out)
    package = ["pkg/__init__.py", "pkg/core.py", "pkg/data/words.txt", "pkg/names.py"]
    assert shipped["named"]["entry"] == "helper:area"
    assert shipped["part"]["entry"] == "pkg.core:Job.Part"
    assert shipped["by_module"]["entry"] is None
    assert shipped["named"]["files"] == shipped["by_module"]["files"] == ["helper.py", "shapes.py"]
    assert shipped["by_import"]["files"] == shipped["attribute"]["files"] == package
    assert shipped["takes"]["files"] == ["shapes.py"]  # the argument's class
    (project / "app.py").unlink()
    answers = {name: bare.call(out / f"{name}.artifact") for name in shipped if name != "part"}
    answers["part"] = bare.call(out / "part.artifact", method="go")
    assert {name: answer.get("value", answer) for name, answer in answers.items()} == {
        "named": "18", "part": "2", "by_module": "18", "by_import": "'wordsn'", "by_value": "18",
        "attribute": "'wordsn'", "takes": "9",
    }  # fmt: skip

    (project / "shapes.py").write_text(LIBRARY["shapes.py"] + "# edited\n")
    edited = program(project, LIBRARY_CALLS, out=out)
    same = {name for name in shipped if edited[name]["id"] == shipped[name]["id"]}
    assert same == {"part", "by_import", "attribute"}


WARM = """
import dataclasses, sys
FACTOR = 2
@dataclasses.dataclass
class Point:
    x: int
    calls = []
    def grown(self): return Point(self.x * FACTOR)
class Oops(Exception):
    def __init__(self, point): super().__init__(point); self.point = point
def f(point):
    assert type(point) is Point
    Point.calls.append(point.x)
    if point.x < 0: raise Oops(point)
    return point.grown(), list(Point.calls)
def read(name):
    from worker_runtime.wire import payload
    return payload.decode((_pathlib.Path(_OUT) / name).read_bytes())

_ship(f, "good", (Point(5),), data=FIRST)
_ship(f, "bad", (Point(-1),), data=FIRST)
print("shipped", flush=True)
if not FIRST:
    before = Point.grown
    result, calls = read("good.result")
    error = read("bad.result")
    print(_json.dumps([type(result) is Point, result.x, isinstance(error, Oops), error.point == Point(-1), calls,
                       Point.calls, Point.grown is before]))
else:
    print("[]")
"""


def test_a_warm_worker_knows_the_classes_of_a_second_run(tmp_path: Path, bare: BarePython) -> None:
    """The second run never pickles the function, and the worker never loads it again."""
    out = tmp_path / "out"
    program(tmp_path, "FIRST = True\n" + WARM, out=out)
    artifact = out / "good.artifact"
    assert bare.call(artifact) == {"value": "(Point(x=10), [5])"}
    shipping_only = "FIRST = False\n" + WARM.replace("if not FIRST", "if False")
    program(tmp_path, shipping_only, out=out, seed=3)
    assert "value" in bare.call(artifact, out / "good.arguments", result=str(out / "good.result"))
    assert bare.call(artifact, out / "bad.arguments", result=str(out / "bad.result")) == {"error": "Oops: Point(x=-1)"}
    seen = program(tmp_path, "FIRST = False\n" + WARM, out=out, seed=4)
    assert seen == [True, 10, True, True, [5, 5], [], True]


def test_arguments_do_not_replace_what_the_function_knows(tmp_path: Path, bare: BarePython) -> None:
    """A class that comes again with the arguments keeps the globals that it shares with the function."""
    program(
        tmp_path,
        """
        COUNT = 0
        class Reader:
            def read(self): return COUNT
        def f(reader):
            global COUNT
            COUNT += 1
            return reader.read(), Reader().read()
        _ship(f, "f", (Reader(),))
        print("0")
        """,
        out=tmp_path / "out",
    )
    assert bare.call(tmp_path / "out" / "f.artifact") == {"value": "(1, 1)"}
    assert bare.call(tmp_path / "out" / "f.artifact") == {"value": "(2, 2)"}


def test_recursion_through_the_endpoint(tmp_path: Path, bare: BarePython) -> None:
    source = """
    from runpod_flash import Endpoint
    @Endpoint(name="n", cpu="cpu3c-1-2")
    def f(n): return 1 if n < 2 else n * f.local(n - 1)
    print(_json.dumps(_ship(f.__flash_target__, "f", (5,))))
    """
    first = program(tmp_path, source, out=tmp_path / "out", seed=1)
    assert bare.call(tmp_path / "out" / "f.artifact") == {"value": "120"}
    assert program(tmp_path, source, out=tmp_path / "out", seed=2) == first
    edited = program(tmp_path, source.replace("1 if n", "2 if n"), out=tmp_path / "out")
    assert edited["id"] != first["id"]


def test_a_changed_global_is_seen_by_the_next_call() -> None:
    space = main_namespace("KNOWN = [1, {'a': 2}]\ndef helper(): return KNOWN\ndef f(): return helper()\n")
    shipper = Shipper()
    first = ship(space["f"], shipper)
    assert ship(space["f"], shipper) is first
    space["KNOWN"][1]["a"] = 3
    second = ship(space["f"], shipper)
    assert second.id != first.id
    assert payload.decode(paths.read_code(second.data()) or b"")() == [1, {"a": 3}]
    space["KNOWN"][1]["a"] = 2
    assert ship(space["f"], shipper).id == first.id


def test_the_manifest_says_what_was_asked() -> None:
    space = main_namespace("class C: pass\ndef f(): pass\n")
    request = EnvironmentRequest("3.11", dependencies=("scikit-learn",))
    shipper = Shipper()
    first = shipper.ship(space["C"], name="shown", environment=request, max_concurrency=3).manifest
    assert (first.kind, first.name, first.environment, first.max_concurrency) == ("class", "shown", request, 3)
    other = shipper.ship(space["C"], name="shown", environment=EnvironmentRequest("3.11"), max_concurrency=3).manifest
    assert other.code == first.code
    assert other.id != first.id


def test_an_unchanged_function_costs_little() -> None:
    space = main_namespace(
        "import json, os\nCONFIG = {'a': [1, 2, 3], 'b': {'c': 1}}\nWORDS = ['a'] * 100\n"
        "def helper(x): return len(CONFIG) + x\n"
        "def f(x, y=3): return json.dumps([helper(x), os.getcwd(), WORDS])\n"
    )
    shipper = Shipper()
    ship(space["f"], shipper)
    best = min(timeit.repeat(lambda: ship(space["f"], shipper), number=100, repeat=5)) / 100
    assert best < 100e-6


class TestWhatCannotTravel:
    @pytest.mark.parametrize(
        ("args", "kwargs", "said"),
        [
            (
                ({"a": [threading.Lock()]},),
                {},
                "argument 'lock' of infer(): cannot pickle '_thread.lock' object (at ['a'][0])",
            ),
            ((1, 2, 3, threading.Lock()), {}, "argument 4 of infer(): cannot pickle"),
            ((), {"named": threading.Lock()}, "argument 'named' of infer(): cannot pickle"),
            (((x for x in ()),), {}, "argument 'lock' of infer(): cannot pickle 'generator' object; pass a list"),
        ],
    )
    def test_argument(self, args: tuple[Any, ...], kwargs: dict[str, Any], said: str) -> None:
        def infer(lock: Any, b: int = 0, *rest: Any, named: Any = None) -> None: ...

        with pytest.raises(NotPicklable) as caught:
            Shipper().encode_arguments(args, kwargs, target_name="infer", target=infer)
        assert str(caught.value).startswith(said)
        assert caught.value.__cause__ is not None

    def test_argument_of_a_method(self) -> None:
        class Model:
            def predict(self, lock: Any) -> None: ...

        with pytest.raises(NotPicklable, match=r"^argument 'lock' of Model\.predict\(\): cannot pickle"):
            shipping.encode_arguments((threading.Lock(),), {}, target_name="Model.predict", target=Model)
        with pytest.raises(NotPicklable, match=r"^argument 1 of Model\.predict\(\): cannot pickle"):
            shipping.encode_arguments((threading.Lock(),), {}, target_name="Model.predict")

    def test_too_deep(self) -> None:
        deep: list[Any] = []
        for _ in range(20_000):
            deep = [deep]
        with pytest.raises(NotPicklable, match="nested too deeply"):
            Shipper().encode_arguments((deep,), {}, target_name="infer")

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ("def infer(): LOCK", "global 'LOCK' used by infer(): cannot pickle '_thread.lock' object; create it"),
            ("def helper(): LOCK\ndef infer(): helper()", "global 'LOCK' used by helper(), which infer() uses: cannot"),
            (
                "D = {'a': [LOCK]}\ndef infer(): D",
                "global 'D' used by infer(): cannot pickle '_thread.lock' object (at ['a'][0])",
            ),
            (
                "def make(x):\n def infer(): x\n return infer\ninfer = make(LOCK)",
                "variable 'x' used by make.<locals>.infer()",
            ),
            ("def infer(a, b=LOCK): pass", "default value of 'b' used by infer()"),
            (
                "class C:\n  x = LOCK\ndef infer(): C",
                "global 'C' used by infer(): cannot pickle '_thread.lock' object (at .x)",
            ),
            ("class C:\n  def m(self): LOCK\ndef infer(): C", "global 'LOCK' used by C.m(), which infer() uses"),
            ("class infer:\n  def __init__(self): LOCK", "global 'LOCK' used by infer.__init__()"),
        ],
    )
    def test_captured(self, source: str, said: str) -> None:
        space = main_namespace("import threading\nLOCK = threading.Lock()\n" + source)
        with pytest.raises(NotPicklable) as caught:
            ship(space["infer"])
        assert said in str(caught.value)

    def test_what_only_looks_like_a_global_is_no_matter(self) -> None:
        space = main_namespace("import threading\nlock = threading.Lock()\ndef f(x): return x.lock\n")
        assert ship(space["f"]).manifest.kind == "function"

    def test_an_object_that_cannot_be_described_but_pickled(self) -> None:
        """Its id holds for this process; it is looked at again with each call."""
        space = main_namespace(
            "class Odd:\n  def __reduce_ex__(self, protocol):\n    import sys\n"
            "    if sys._getframe(1).f_code.co_name == 'reduced': raise TypeError('not so')\n    return Odd, ()\n"
            "ODD = Odd()\ndef f(): return ODD\n"
        )
        assert type(payload.decode(paths.read_code(ship(space["f"]).data()) or b"")()).__name__ == "Odd"


def test_an_open_file_is_named() -> None:
    space = main_namespace("def f(): return OUT\n")
    space["OUT"] = io.BufferedWriter(io.FileIO(sys.stderr.fileno(), "w", closefd=False))
    with pytest.raises(NotPicklable, match=r"global 'OUT' used by f\(\)"):
        ship(space["f"])
