"""Remote functions, classes and objects: call forms, what they look like, how they travel."""

import asyncio
import copy
import gc
import inspect
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_flash import Endpoint
from runpod_flash.errors import CallError
from runpod_flash.remote import RemoteFunction
from runpod_flash.session import Session
from runpod_flash.settings import serving
from tests.support.inline import inline_session
from tests.support.waiting import wait_until
from worker_runtime.wire import payload

CPU: Any = {"cpu": "cpu3c-2-4"}
ENDED: list[str] = []


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[Session]:
    ENDED.clear()
    with inline_session(tmp_path) as session:
        yield session


@Endpoint(**CPU)
def add(a: int, b: int = 2, *rest: int, scale: int = 1) -> int:
    """Adds."""
    return (a + b + sum(rest)) * scale


@Endpoint(**CPU)
async def double(x: int) -> int:
    await asyncio.sleep(0)
    return x * 2


@Endpoint(**CPU)
def factorial(n: int) -> int:
    return n * factorial(n - 1) if n else 1  # type: ignore[operator,return-value]  # on the worker it is the original


@Endpoint(**CPU)
def given(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    return args, kwargs


@Endpoint(**CPU)
class Counter:
    """Counts."""

    STEP = 10

    def __init__(self, start: int, *, label: str = "c") -> None:
        self.value, self.label = start, label

    def up(self, by: int = 1) -> int:
        self.value += by
        return self.value

    async def show(self) -> str:
        return f"{self.label}={self.value}"

    def __call__(self, x: int) -> int:
        return self.value + x

    def numbers(self) -> Iterator[int]:
        yield self.value

    def close(self) -> None:
        ENDED.append(self.label)

    @property
    def state(self) -> int:
        return self.value

    @staticmethod
    def twice(x: int) -> int:
        return 2 * x

    @classmethod
    def step(cls) -> int:
        return cls.STEP


@Endpoint(**CPU)
class Plain:
    def go(self) -> int:
        return 1

    def __exit__(self, *_: object) -> None:
        ENDED.append("exit")


# --- functions ---


def test_each_call_form() -> None:
    async def main() -> None:
        assert await add(1) == 3
        assert await asyncio.gather(*(double(x) for x in range(5))) == [0, 2, 4, 6, 8]
        assert add.remote(1, 1) == 2  # blocking, where a loop runs
        job = await add.spawn.aio(5)
        assert await job.result() == 7

    asyncio.run(main())
    asyncio.run(main())  # another loop
    assert add.remote(1, scale=2) == 6
    assert add.spawn(3).result() == 5
    assert add.local(1) == 3
    assert asyncio.run(double.local(4)) == 8
    assert add.job(add.spawn(8).id).result() == 10


def test_arguments_arrive_as_written() -> None:
    assert given.remote() == ((), {})
    assert given.remote(None) == ((None,), {})
    assert given.remote(1, *[2, 3], a=None, b=()) == ((1, 2, 3), {"a": None, "b": ()})
    assert add.remote(1, 2, 3, 4, scale=10) == 100


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [((), {}, "'a'"), ((1,), {"z": 1}, "'z'"), ((1,), {"a": 2}, "'a'")],
)
def test_wrong_arguments_fail_at_the_call(args: tuple[Any, ...], kwargs: dict[str, Any], words: str) -> None:
    for form in (add, add.remote, add.spawn, add.spawn.aio):
        with pytest.raises(CallError, match=f"add.*{words}.*nothing was sent"):
            form(*args, **kwargs)  # type: ignore[operator]
    with pytest.raises(TypeError):
        add(*args, **kwargs)


def test_it_looks_like_the_function_and_is_a_coroutine_function() -> None:
    assert (add.__name__, add.__doc__, add.__module__) == ("add", "Adds.", __name__)
    assert str(inspect.signature(add)) == "(a: int, b: int = 2, *rest: int, scale: int = 1) -> int"
    for callable_ in (add, double, Counter(1).up):
        assert inspect.iscoroutinefunction(callable_)
        assert asyncio.iscoroutinefunction(callable_)
    assert add.__wrapped__ is add.__flash_target__  # type: ignore[attr-defined]
    assert "add" in repr(add)
    config = add.__remote_config__
    assert config["resource_config"].name == "add"
    assert {"method", "path", "dependencies", "system_dependencies"} <= set(config)


def test_a_forgotten_await_is_named(recwarn: pytest.WarningsRecorder) -> None:
    add(1)
    gc.collect()
    assert any("'add' was never awaited" in str(warning.message) for warning in recwarn)


def test_on_its_own_worker_the_decorated_name_is_the_original() -> None:
    assert factorial.remote(5) == 120
    assert payload.decode(payload.encode(factorial)) is factorial  # by name
    token = serving.set("factorial")
    try:
        made = pickle.loads(pickle.dumps(factorial))
        assert made(3) == 6
    finally:
        serving.reset(token)


def test_it_travels_by_name_or_with_its_function() -> None:
    assert pickle.loads(pickle.dumps(add)) is add
    assert copy.copy(add) is add

    @Endpoint("inner", **CPU)
    def inner(n: int) -> Any:
        return inner if n else 0

    rebuilt = payload.decode(payload.encode(inner))
    assert isinstance(rebuilt, RemoteFunction)
    assert rebuilt == inner
    assert rebuilt is not inner
    assert hash(rebuilt) == hash(inner)
    assert rebuilt != add


def test_a_function_that_is_passed_to_another_can_be_called_there() -> None:
    @Endpoint(**CPU)
    async def through(function: Any, x: int) -> Any:
        return await function(x)

    assert through.remote(double, 4) == 8


# --- classes and objects ---


def test_an_object_keeps_its_state() -> None:
    async def main() -> None:
        one, other = Counter(1), Counter(5, label="other")
        assert [await one.up(), await other.up(2), await one.up(by=3)] == [2, 7, 5]
        assert await other.show() == "other=7"
        assert await one(10) == 15
        assert await one.twice(4) == 8
        assert await one.step() == 10
        assert one.up.remote() == 6
        assert await one.up.spawn(1).result() == 7

    asyncio.run(main())


def test_making_an_object_sends_nothing_and_checks_the_arguments(session: Session) -> None:
    Counter(1)
    assert not session._links
    with pytest.raises(CallError, match=r"Counter.*'start'"):
        Counter()
    with pytest.raises(CallError, match=r"Counter\.up"):
        Counter(1).up(1, 2)


def test_wrong_names_are_seen_at_once() -> None:
    counter = Counter(1)
    for name, words in {
        "upp": "did you mean 'up'",
        "_value": "underscore",
        "state": "property",
        "value": "no method",
    }.items():
        with pytest.raises(AttributeError, match=words):
            getattr(counter, name)
    with pytest.raises(CallError, match="numbers is a generator"):
        counter.numbers()
    with pytest.raises(CallError, match="no __call__"):
        Plain()()


def test_constants_and_static_methods_are_reached_through_the_class() -> None:
    assert Counter.STEP == 10
    assert Counter(1).STEP == 10
    assert Counter.twice(3) == 6
    assert Counter.step() == 10
    assert Counter.__doc__ == "Counts."
    with pytest.raises(AttributeError, match="make one first"):
        Counter.up  # noqa: B018
    with pytest.raises(AttributeError, match="no method 'nothing'"):
        Counter.nothing  # noqa: B018
    assert type(Counter.local(3)) is Counter.__flash_target__
    assert Counter.local(3).up() == 4


def test_a_forgotten_object_is_closed_there() -> None:
    counter = Counter(1, label="forgotten")
    counter.up.remote()
    del counter
    gc.collect()
    wait_until(lambda: ENDED == ["forgotten"])


def test_the_ways_to_drop_an_object() -> None:
    async def main() -> None:
        async with Plain() as plain:
            await plain.go()
        assert ENDED == ["exit"]
        other = Plain()
        await other.go()
        await other.aclose()
        await other.aclose()
        assert ENDED == ["exit", "exit"]

    asyncio.run(main())
    with Plain() as third:
        third.go.remote()
    wait_until(lambda: len(ENDED) == 3)


def test_the_classes_own_close_comes_first() -> None:
    async def main() -> None:
        counter = Counter(1, label="own")
        await counter.up()
        await counter.close()
        assert ENDED == ["own"]

    asyncio.run(main())


def test_an_object_that_was_never_used_is_not_dropped(session: Session) -> None:
    counter = Counter(1)
    del counter
    gc.collect()
    assert not session._links


def test_an_object_can_be_passed_on() -> None:
    @Endpoint(**CPU)
    async def feed(counter: Any) -> int:
        return await counter.up(100)

    counter = Counter(1)
    assert counter.up.remote() == 2
    assert feed.remote(counter) == 102
    gc.collect()
    assert counter.up.remote() == 103
    assert ENDED == []


PROGRAM = """
import asyncio, sys
from runpod_flash import Endpoint
@Endpoint(cpu="cpu3c-2-4")
class Thing:
    def __init__(self, n): self.n = n
    def go(self): return self.n
    def close(self): print("closed", self.n, flush=True)
async def main():
    await keep[0].go()
keep = [Thing(1)]
if sys.argv[1] == "async":
    asyncio.run(main())
else:
    keep[0].go.remote()
print("end")
"""


@pytest.mark.parametrize("way", ["async", "blocking"])
def test_objects_are_closed_when_the_program_ends(tmp_path: Path, way: str) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    env = {"FLASH_TARGET": "inline", "FLASH_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-W", "error", "program.py", way]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["end", "closed 1"]
    assert done.stderr == ""
