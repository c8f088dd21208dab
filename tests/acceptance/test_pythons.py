"""Endpoints of another Python version: what travels there and back, what is refused, how an interpreter is found."""

import sys
from pathlib import Path

import pytest

from tests.support.place import Place
from tests.support.pythons import find_python

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
OTHER = next((version for version in ("3.13", "3.12", "3.11") if version != HERE and find_python(version)), None)

pytestmark = pytest.mark.skipif(OTHER is None, reason="there is one Python version on this machine")

SCRIPT = """
    import asyncio, collections, dataclasses, datetime, decimal, enum, fractions, pathlib, sys, typing, uuid, zoneinfo
    import helpers
    from runpod_flash import Endpoint

    OTHER = %r
    where = {"cpu": "cpu3c-1-2", "python_version": OTHER}

    @dataclasses.dataclass(frozen=True)
    class Point:
        x: int
        tags: tuple = ()
        def moved(self): return Point(self.x + 1, self.tags)
    class Colour(enum.Enum):
        RED = 1
    class Pair(typing.NamedTuple):
        a: int
        b: object
    class Oops(Exception):
        def __init__(self, code, reason):
            super().__init__(reason)
            self.code = code

    @Endpoint(name="echo", **where)
    def echo(value, *, fail=None):
        if fail:
            raise fail
        assert not isinstance(value, Point) or type(value) is Point
        return value, "%%d.%%d" %% sys.version_info[:2]

    @Endpoint(name="count", **where)
    class Counter:
        def __init__(self, start): self.point = start
        def add(self): self.point = self.point.moved(); return self.point
        def points(self):
            yield self.point
            yield "plain"
            yield b"z" * 400_000
        def hidden(self): return [1, {"out": sys.stdout}]

    KINDS = [
        None, True, 2**200, float("inf"), "ü\\ud800", b"x" * 1000, bytearray(b"y"), (1, [2]), {1, 2}, frozenset("a"),
        {(1, "k"): None, 2: {}}, 1 + 2j, datetime.datetime(2024, 10, 27, 2, fold=1, tzinfo=zoneinfo.ZoneInfo("UTC")),
        datetime.date(2024, 1, 2), datetime.timedelta(-1), datetime.timezone.utc, decimal.Decimal("1.10"),
        fractions.Fraction(1, 3), uuid.UUID(int=5), pathlib.Path("/tmp/x"), range(3), slice(1), Point(1, (Colour.RED,)),
        Colour.RED, Pair(1, Point(2)), helpers.Setting("s"), collections.OrderedDict(a=1),
        ValueError("v"), Oops(3, "why"), "large" * 200_000,
    ]
"""
HELPERS = """
    import dataclasses, sys
    from runpod_flash import Endpoint

    @dataclasses.dataclass
    class Setting:
        name: str

    @Endpoint(name="in-module", cpu="cpu3c-1-2", python_version=%r)
    def in_module(setting):
        return Setting(setting.name + "%%d.%%d" %% sys.version_info[:2])
"""
MAIN = """
    async def main():
        found, version = await echo(KINDS)
        assert version == OTHER
        assert repr(found) == repr(KINDS), [(a, b) for a, b in zip(found, KINDS) if repr(a) != repr(b)]
        assert [type(each) for each in found] == [type(each) for each in KINDS]
        try:
            await echo(1, fail=Oops(7, "bad"))
        except Oops as error:
            assert error.code == 7 and "Remote traceback" in error.__notes__[0]
        assert await helpers.in_module(helpers.Setting("n")) == helpers.Setting("n" + OTHER)
        counter = Counter(Point(5))
        assert [await counter.add(), await counter.add()] == [Point(6), Point(7)]
        assert [item async for item in counter.points.stream()] == [Point(7), "plain", b"z" * 400_000]
        for wrong in (counter.hidden(), echo([1, {"out": sys.stdout}]), echo(value=print)):
            try:
                await wrong
            except TypeError as error:
                print(type(error).__name__, error)

    if __name__ == "__main__":
        asyncio.run(main())
        @Endpoint(name="late", **where)
        def late(): return 1
        def closed(n):
            @Endpoint(name="closed", **where)
            def inner(): return n
            return inner
        for wrong in (late, closed(1), Endpoint(name="lambda", **where)(lambda: 1)):
            try:
                wrong.remote()
            except TypeError as error:
                print(type(error).__name__, error)
"""


def write(place: Place, other: str) -> Path:
    place.write("helpers.py", HELPERS % other)
    return place.write("script.py", SCRIPT % other + MAIN)


def check_refusals(stdout: str, here: str, other: str) -> None:
    """Each names the part, both versions, and what to do."""
    lines = stdout.splitlines()
    both = f"pickles do not travel between Python {here} (this program) and {other} (the endpoint)"
    assert len(lines) == 6
    assert all(line.startswith("NotPortable ") for line in lines)
    assert "[1]['out'] in the result of 'count.hidden' is a _io.TextIOWrapper" in lines[0]
    assert f"from Python {other} (the endpoint) to {here} (the caller)" in lines[0]
    assert f"value[1]['out'] of echo() is a _io.TextIOWrapper, which only a pickle could carry, and {both}" in lines[1]
    assert "argument value of echo() is a builtin_function_or_method (print)" in lines[2]
    assert both in lines[3]
    assert 'does not define it outside of `if __name__ == "__main__":`' in lines[3]
    assert "it is defined inside another function" in lines[4]
    assert "a lambda has no name in a file" in lines[5]
    assert all("Move it to the top of a .py file" in line for line in lines[3:])


@pytest.mark.slow
def test_every_kind_of_value_goes_to_an_endpoint_of_another_version_and_back(shared_place: Place) -> None:
    assert OTHER is not None
    script = write(shared_place, OTHER)
    done = shared_place.run([str(script)]).good()
    check_refusals(done.stdout, HERE, OTHER)


@pytest.mark.slow
def test_the_same_the_other_way_round(place: Place, tmp_path: Path) -> None:
    """The caller, and so the control plane, has the other version, and the endpoint the one of this test."""
    assert OTHER is not None
    python = place.venv(tmp_path / "caller", [], base=find_python(OTHER) or "")
    script = write(place, HERE)
    done = place.run([str(script)], python=python).good()
    check_refusals(done.stdout, OTHER, HERE)


@pytest.mark.slow
def test_arrays_frames_images_and_models(place: Place, tmp_path: Path) -> None:
    packages = ["numpy", "pandas", "pillow", "pydantic"]
    python = place.venv(tmp_path / "caller", packages)
    text = f"""
        import sys
        import numpy, pandas, pydantic
        from PIL import Image
        from runpod_flash import Endpoint

        class Model(pydantic.BaseModel):
            n: int
            inner: "Model | None" = None

        @Endpoint(name="science", cpu="cpu3c-2-4", python_version={OTHER!r}, dependencies={packages!r})
        def work(array, frame, image, model):
            assert sys.version_info[:2] == tuple(map(int, {OTHER!r}.split(".")))
            changed = model.model_copy(update={{"n": 7}})
            return array * 2, frame.assign(c=1), image.rotate(180), changed, array.sum(), frame.a

        if __name__ == "__main__":
            array = numpy.arange(300_000, dtype="f4").reshape(3, -1)
            frame = pandas.DataFrame({{"a": [1, 2], "b": pandas.to_datetime(["2020-01-01", None])}}, index=["x", "y"])
            image = Image.linear_gradient("L").convert("RGB")
            model = Model(n=1, inner=Model(n=2))
            found = work.remote(array, frame, image, model)
            assert (found[0] == array * 2).all() and found[0].dtype == array.dtype
            pandas.testing.assert_frame_equal(found[1], frame.assign(c=1))
            assert found[2].tobytes() == image.rotate(180).tobytes()
            assert found[3] == Model(n=7, inner=Model(n=2)) and type(found[3]) is Model
            assert type(found[4]) is numpy.float32
            pandas.testing.assert_series_equal(found[5], frame.a)
    """
    place.run_script(text, python=python, timeout_s=170).good()


@pytest.mark.slow
def test_a_script_that_calls_without_a_guard_is_told_why_it_cannot(shared_place: Place) -> None:
    text = f"""
        from runpod_flash import Endpoint
        @Endpoint(name="no-guard", cpu="cpu3c-1-2", python_version={OTHER!r})
        def f(): return 1
        print(f.remote())
    """
    done = shared_place.run_script(text, name="no_guard.py")
    assert done.status == 1
    assert "put there what the caller alone shall run" in done.stderr


@pytest.mark.slow
def test_a_worker_of_another_version_calls_endpoints_of_both(shared_place: Place) -> None:
    """Without `python_version=` an endpoint runs on the Python of whoever calls it."""
    text = f"""
        import dataclasses, sys
        from runpod_flash import Endpoint
        @dataclasses.dataclass
        class Box:
            n: int
        here = lambda: "%d.%d" % sys.version_info[:2]
        @Endpoint(name="named", cpu="cpu3c-1-2", python_version={HERE!r})
        def named(box): return Box(box.n * 2), here()
        @Endpoint(name="unnamed", cpu="cpu3c-1-2")
        def unnamed(box): return Box(box.n * 3), here()
        @Endpoint(name="between", cpu="cpu3c-1-2", python_version={OTHER!r})
        async def between(box): return await named(box), await unnamed(box), here()
        if __name__ == "__main__":
            assert unnamed.remote(Box(1)) == (Box(3), {HERE!r})
            assert between.remote(Box(1)) == ((Box(2), {HERE!r}), (Box(3), {OTHER!r}), {OTHER!r})
            assert unnamed.remote(Box(1)) == (Box(3), {HERE!r})
    """
    shared_place.run_script(text, name="between.py").good()


@pytest.mark.slow
def test_a_program_started_as_a_module(shared_place: Place) -> None:
    shared_place.write("package/__init__.py", "")
    shared_place.write("package/part.py", "BASE = 40\n")
    text = f"""
        import dataclasses
        from runpod_flash import Endpoint
        from .part import BASE
        @dataclasses.dataclass
        class Box:
            n: int
        @Endpoint(name="as-module", cpu="cpu3c-1-2", python_version={OTHER!r})
        def f(box): return Box(box.n + BASE)
        if __name__ == "__main__":
            assert f.remote(Box(2)) == Box(42)
    """
    shared_place.write("package/__main__.py", text)
    shared_place.write("package/other.py", text)
    shared_place.run(["-m", "package"]).good()
    shared_place.run(["-m", "package.other"]).good()


@pytest.mark.slow
def test_code_without_a_file_is_refused_before_anything_starts(place: Place) -> None:
    text = f"""
from runpod_flash import Endpoint
@Endpoint(name="typed", cpu="cpu3c-1-2", python_version={OTHER!r})
def f(): return 1
try:
    f.remote()
except TypeError as error:
    print(error)
"""
    done = place.run(["-"], stdin=text).good()
    assert "it is defined in no file (a notebook, a prompt)" in done.stdout
    assert f"leave python_version= out, or run this program with Python {OTHER}" in done.stdout


# --- without pickles --------------------------------------------------------------------------------------------------

SAME = """
    import sys
    from runpod_flash import Endpoint
    @Endpoint(name="same", cpu="cpu3c-1-2")
    def f(x): return x, __name__
    if __name__ == "__main__":
        print(f.remote([1]))
        try:
            f.remote(print)
        except TypeError as error:
            print(error)
"""


def test_a_user_may_want_no_pickles(shared_place: Place) -> None:
    done = shared_place.run_script(SAME, name="same.py", env={"FLASH_ENCODING": "neutral"}).good()
    first, second = done.stdout.splitlines()
    assert first == "([1], '__flash_main__')"
    assert f"FLASH_ENCODING=neutral allows no pickles (this program and the endpoint run on Python {HERE})" in second


@pytest.mark.slow
def test_a_platform_may_load_no_pickles(place: Place) -> None:
    closed = {"FLASH_PICKLES": "nobody"}
    done = place.run_script(SAME, env=closed).good()
    first, second = done.stdout.splitlines()
    assert first == "([1], '__flash_main__')"
    assert "the platform takes no pickles from you" in second


@pytest.mark.slow
def test_a_client_that_is_not_told_so_is_refused(place: Place) -> None:
    closed = {"FLASH_PICKLES": "nobody", "FLASH_PUBLISHED_ONLY": "1"}
    done = place.run_script(SAME, env=closed)
    assert done.status == 1
    assert "the code is a pickle, and this server loads none of yours; set FLASH_ENCODING=neutral" in done.stderr
    place.run_script(SAME, env={**closed, "FLASH_ENCODING": "neutral"}).good()
