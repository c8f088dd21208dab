"""Ways to call functions, for type checkers; never run. `type: ignore` marks what must be an error.

Types of generic functions go through where the variable is part of the result, as in `list[T]`. Of one that gives a `T`
itself mypy, unlike pyright, believes that it is asynchronous.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, assert_type

from runpod_flash import Endpoint, EndpointJob
from runpod_flash.remote import AsyncRemoteFunction, CallForms, RemoteFunction, Spawn

T = TypeVar("T")


@dataclass
class Picture:
    data: bytes


@Endpoint(name="scale", cpu="cpu3c-1-2")
def scale(picture: Picture, factor: float, /, *rest: int, smooth: bool = True, **named: str) -> Picture:
    return picture


@Endpoint(name="turned", cpu="cpu3c-1-2")
def turned(items: list[T], more: T) -> list[T]:
    return [more, *reversed(items)]


@Endpoint(name="wait", cpu="cpu3c-1-2")
async def wait_for(seconds: float) -> None:
    await asyncio.sleep(seconds)


@Endpoint(name="maker", cpu="cpu3c-1-2")
def maker(step: int) -> Callable[[int], int]:
    return lambda x: x + step


async def awaited(picture: Picture) -> None:
    assert_type(await scale(picture, 2, 3, 4, smooth=False, tag="x"), Picture)
    assert_type(await turned([1, 2], 3), list[int])
    assert_type((await maker(1))(2), int)
    task = asyncio.create_task(scale(picture, 2))
    assert_type(task, asyncio.Task[Picture])
    async with asyncio.TaskGroup() as group:
        grouped = group.create_task(turned(["a"], ""))
    assert_type(grouped.result(), list[str])
    assert_type(await asyncio.wait_for(scale(picture, 2), 3), Picture)
    assert_type(await asyncio.gather(scale(picture, 2), maker(1)), tuple[Picture, Callable[[int], int]])
    assert_type(await scale.spawn.aio(picture, 2, smooth=False), EndpointJob[Picture])
    assert_type(await (await scale.spawn.aio(picture, 2)).result.aio(), Picture)
    assert_type(await wait_for.spawn.aio(1.5), EndpointJob[None])
    await wait_for(1)


def blocking(picture: Picture) -> None:
    assert_type(scale.remote(picture, 2, smooth=False), Picture)
    assert_type(turned.remote(["a"], more="b"), list[str])
    assert_type(maker.remote(1)(2), int)
    assert_type(scale.spawn(picture, 2), EndpointJob[Picture])
    assert_type(scale.spawn(picture, 2).result.blocking(), Picture)
    assert_type(scale.local(picture, 2), Picture)
    assert_type(asyncio.run(wait_for.local(2)), None)


def handed_on(picture: Picture) -> None:
    forms: CallForms[[float], None] = wait_for
    asynchronous: AsyncRemoteFunction[[float], None] = wait_for
    plain: RemoteFunction[[int], Callable[[int], int]] = maker
    spawn: Spawn[[float], None] = wait_for.spawn
    callback: Callable[[float], Awaitable[None]] = wait_for
    assert_type(spawn(1), EndpointJob[None])
    assert_type(plain.local(1), Callable[[int], int])
    assert_type(asyncio.run(asynchronous.local(1)), None)
    wrong: CallForms[[str], None] = wait_for  # type: ignore[assignment]
    del forms, callback, wrong


def of_any(function: CallForms[..., T], *args: Any) -> T:
    return function.remote(*args)


async def mistakes(picture: Picture) -> None:
    assert_type(of_any(scale, picture, 2), Picture)
    await scale(picture)  # type: ignore[call-arg]
    await scale(picture, factor=2)  # type: ignore[call-arg, arg-type]  # positional only, and `named` are texts
    scale.remote(picture)  # type: ignore[call-arg]
    scale.remote(picture, "2")  # type: ignore[arg-type]
    scale.remote(picture, 2, "3")  # type: ignore[arg-type]
    scale.spawn(picture, 2, smooth="yes")  # type: ignore[arg-type]
    scale.local(picture, 2, tag=5)  # type: ignore[arg-type]
    await scale.spawn.aio(picture)  # type: ignore[call-arg]
    wait_for.remote()  # type: ignore[call-arg]
    wait_for.remote(1, 2)  # type: ignore[call-arg]
    scale.remotely(picture, 2)  # type: ignore[attr-defined]
    number: int = scale.remote(picture, 2)  # type: ignore[assignment]
    Endpoint(name="nothing")(5)  # type: ignore[call-overload]
    del number
