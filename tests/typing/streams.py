"""Generators, for type checkers; never run."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any, assert_type

from runpod_flash import Endpoint, EndpointJob, progress
from runpod_flash.remote import RemoteGenerator
from runpod_flash.streams import Stream
from worker_runtime.wire.jobs import Progress


@Endpoint(name="count", cpu="cpu3c-1-2")
def count(to: int, *, step: int = 1) -> Iterator[int]:
    progress(0, to, "counting")
    yield from range(0, to, step)


@Endpoint(name="pairs", cpu="cpu3c-1-2")
def pairs(text: str) -> Generator[tuple[int, str], None, None]:
    yield from enumerate(text)


@Endpoint(name="words", cpu="cpu3c-1-2")
async def words(text: str) -> AsyncIterator[str]:
    for word in text.split():
        yield word


@Endpoint(name="bits", cpu="cpu3c-1-2")
async def bits(number: int) -> AsyncGenerator[bool, None]:
    while number:
        yield bool(number & 1)
        number >>= 1


async def awaiting() -> None:
    assert_type(count.stream(3, step=2), Stream[int])
    async for number in count.stream(3):
        assert_type(number, int)
    assert_type([pair async for pair in pairs.stream("ab")], list[tuple[int, str]])
    assert_type([word async for word in words.stream("a b")], list[str])
    assert_type(await anext(bits.stream(5)), bool)
    async with words.stream("a b") as stream:
        assert_type(stream, Stream[str])
    job = await words.spawn.aio("a b")
    async for item in job.stream():
        assert_type(item, Any)
    assert_type(job.progress, Progress | None)
    async for word in words.local("a b"):
        assert_type(word, str)


def blocking() -> None:
    for number in count.stream(3):
        assert_type(number, int)
    assert_type(list(words.stream("a b")), list[str])
    assert_type(next(count.local(3)), int)
    with bits.stream(5) as stream:
        assert_type(next(stream), bool)
    kept: RemoteGenerator[[str], AsyncIterator[str], str] = words
    job: EndpointJob[Any] = count.spawn(3)
    del kept, job


def mistakes() -> None:
    count.stream("x")  # type: ignore[arg-type]
    count.stream()  # type: ignore[call-arg]
    progress("half")  # type: ignore[arg-type]


def never() -> None:
    count.remote(3)
    "a generator has no value"
