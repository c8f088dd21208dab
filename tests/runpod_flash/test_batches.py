"""Batched functions and methods, as their callers see them, over the platform in this process."""

import asyncio
import functools
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_flash import Endpoint
from runpod_flash.batches import as_positional, check_target
from runpod_flash.errors import CallError, ConfigError, NotPicklable, RemoteError
from runpod_flash.session import Session
from tests.support.inline import inline_session

CPU: Any = {"cpu": "cpu3c-2-4"}
SIZES: list[int] = []


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[Session]:
    SIZES.clear()
    with inline_session(tmp_path) as session:
        yield session


@Endpoint(**CPU).batched(4, 60_000)
def double(xs: list[int]) -> list[int]:
    SIZES.append(len(xs))
    return [x * 2 for x in xs]


@Endpoint(**CPU).batched(3, 60_000)
async def join(left: list[str], right: list[str]) -> list[str]:
    await asyncio.sleep(0)
    SIZES.append(len(left))
    return [f"{one}{other}" for one, other in zip(left, right, strict=True)]


@Endpoint(**CPU, batch=(3, 60_000))
def fussy(xs: list[Any]) -> list[Any]:
    if "all" in xs:
        raise ValueError("all fail")
    if "short" in xs:
        return xs[1:]
    if "text" in xs:
        return "abc"  # type: ignore[return-value]  # as long as the batch, and no list
    return [KeyError(x) if x == "bad" else (y for y in "") if x == "generator" else x for x in xs]


@Endpoint(**CPU, batch=(4, 1_000))
class Model:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def times(self, xs: list[int]) -> list[int]:
        SIZES.append(len(xs))
        return [x * self.factor for x in xs]

    async def plus(self, xs: list[int]) -> list[int]:
        return [x + self.factor for x in xs]

    def close(self) -> None: ...


def gathered(function: Any, *inputs: Any) -> list[Any]:
    async def main() -> list[Any]:
        return await asyncio.gather(*(function(x) for x in inputs), return_exceptions=True)

    return asyncio.run(main())


def test_each_caller_gets_his_own() -> None:
    assert gathered(double, *range(8)) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert SIZES == [4, 4]
    assert list(double.map(range(4))) == [0, 2, 4, 6]


def test_several_parameters_by_place_and_by_name() -> None:
    async def main() -> list[str]:
        named: Any = join
        return await asyncio.gather(join("a", "b"), named(right="d", left="c"), named("e", right="f"))

    assert asyncio.run(main()) == ["ab", "cd", "ef"]
    assert SIZES == [3]


def test_one_exception_fails_all_of_a_batch() -> None:
    assert [repr(each) for each in gathered(fussy, 1, "all", 3)] == ["ValueError('all fail')"] * 3


def test_an_exception_in_the_list_fails_that_one_alone() -> None:
    one, bad, other = gathered(fussy, 1, "bad", 3)
    assert (one, repr(bad), other) == (1, "KeyError('bad')", 3)
    one, bad, other = gathered(fussy, 1, "generator", 3)
    assert (one, other) == (1, 3)
    assert isinstance(bad, NotPicklable)


@pytest.mark.parametrize(
    ("word", "said"),
    [("short", "gave 2 results for 3 calls"), ("text", "gave str; it must give a list with one result for each call")],
)
def test_what_is_no_list_of_results_is_said_to_all(word: str, said: str) -> None:
    for error in gathered(fussy, 1, word, 3):
        assert isinstance(error, RemoteError)
        assert f"the batched function 'fussy' {said}" in str(error)


def test_arguments_that_cannot_be_loaded_fail_their_own_call_alone() -> None:
    one, bad, other = gathered(fussy, 1, Unloadable(), 3)
    assert (one, other) == (1, 3)
    assert isinstance(bad, RemoteError)
    assert "could not be loaded on the worker" in str(bad)


class Unloadable:
    def __reduce__(self) -> Any:
        return _raise, ()


def _raise() -> None:
    raise RuntimeError("no")


def test_methods_are_batched_by_object() -> None:
    async def main() -> list[int]:
        two, three = Model(2), Model(3)
        return await asyncio.gather(
            two.times(1), three.times(1), two.times(2), three.times(2), two.plus(1), three.plus(1), two.plus(1),
            three.plus(2),
        )  # fmt: skip

    assert asyncio.run(main()) == [2, 3, 4, 6, 3, 4, 3, 5]
    assert SIZES == [2, 2]


def test_what_waits_alone_goes_when_its_time_is_over() -> None:
    @Endpoint(**CPU).batched(100, 0)
    def alone(xs: list[int]) -> list[int]:
        return [len(xs)] * len(xs)

    assert alone.remote(1) == 1


def test_who_is_cancelled_leaves_the_others() -> None:
    async def main() -> list[int]:
        gone = asyncio.ensure_future(_as_task(double(1)))
        others = [asyncio.ensure_future(_as_task(double(x))) for x in (2, 3)]
        await asyncio.sleep(0.05)  # they wait for a fourth
        gone.cancel()
        await asyncio.wait([gone])
        others += [asyncio.ensure_future(_as_task(double(x))) for x in (4, 5)]
        return await asyncio.gather(*others)

    assert asyncio.run(main()) == [4, 6, 8, 10]
    assert SIZES == [4]


async def _as_task(coroutine: Any) -> Any:
    return await coroutine


def test_here_it_is_a_batch_of_one() -> None:
    assert double.local(4) == 8
    assert asyncio.run(join.local("a", "b")) == "ab"
    assert fussy.local(1) == 1  # type: ignore[comparison-overlap]  # `batch=` is not seen by type checkers
    with pytest.raises(KeyError):
        fussy.local("bad")  # type: ignore[arg-type]
    with pytest.raises(CallError, match="gave 'abc' for one call"):
        fussy.local("text")  # type: ignore[arg-type]


def test_wrong_calls_are_refused_before_they_are_sent() -> None:
    with pytest.raises(CallError, match="missing a required argument"):
        join("a")  # type: ignore[call-arg]


def test_what_is_declared_can_be_read() -> None:
    assert Endpoint(**CPU).batch is None
    assert Endpoint(**CPU, batch=(4, 10)).batch == (4, 10)
    assert double.spec.concurrency == 4
    assert Endpoint(**CPU, batch=(4, 10), max_concurrency=3).spec.concurrency == 12


@pytest.mark.parametrize("batch", [5, (1, 5), (5, -1), (5,), ("5", 1), (True, 1), (2000, 1), (2, 60_001), (2, 1.5)])
def test_bounds(batch: Any) -> None:
    with pytest.raises(ConfigError, match=r"batch= is .*; it must be \(max_size, max_wait_ms\)"):
        Endpoint(**CPU, batch=batch)
    if isinstance(batch, tuple) and len(batch) == 2:
        with pytest.raises(ConfigError, match="batch= is"):
            Endpoint(**CPU).batched(*batch)


def none() -> list[int]: ...  # type: ignore[empty-body]
def rest(*xs: Any) -> list[int]: ...  # type: ignore[empty-body]
def named(**xs: Any) -> list[int]: ...  # type: ignore[empty-body]
def keyword(xs: Any, *, y: Any) -> list[int]: ...  # type: ignore[empty-body]
def default(xs: Any, y: Any = 1) -> list[int]: ...  # type: ignore[empty-body]
def generator(xs: Any) -> Any:
    yield 1


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (none, "it has no parameter"), (rest, "parameter 'xs' takes any number"),
        (named, "parameter 'xs' takes any number"), (keyword, "parameter 'y' can be given by name alone"),
        (default, "parameter 'y' has a default"), (generator, "it is a generator"),
    ],
)  # fmt: skip
def test_functions_that_cannot_be_batched(function: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"batch= cannot be used for {function.__name__}\(\): {reason}"):
        check_target(function)
    with pytest.raises(ConfigError):
        Endpoint(**CPU).batched(2, 1)(function)


def test_classes_with_a_method_that_cannot_be_batched() -> None:
    class Half:
        def good(self, xs: Any) -> Any: ...
        @staticmethod
        def bad() -> Any: ...
        def close(self) -> None: ...

    with pytest.raises(ConfigError, match=r"Half.bad\(\): it has no parameter"):
        Endpoint(**CPU, batch=(2, 1))(Half)


def test_arguments_get_the_places_of_their_parameters() -> None:
    signature = inspect.signature(lambda a, b, c: None)
    assert as_positional(signature, (1,), {"c": 3, "b": 2}) == (1, 2, 3)
    assert functools.reduce(lambda a, b: a + b, as_positional(signature, (1, 2, 3), {})) == 6
