"""Usage of the public API for type checkers; never run. `type: ignore` marks what must be an error."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, assert_type

from runpod_flash import DataCenter, Endpoint, EndpointJob, GpuGroup, GpuType, Retries
from runpod_flash.mapping import Mapped
from runpod_flash.remote import AsyncRemoteFunction, RemoteClass, RemoteFunction, RemoteInstance


@Endpoint("add", cpu="cpu3c-2-4", workers=(0, 3), dependencies=["numpy"], env={"A": "b"}, retries=2)
def add(a: int, b: int = 1, *, label: str = "") -> float:
    return a + b


@Endpoint(gpu=[GpuType.NVIDIA_L4, "NVIDIA H200", GpuGroup.ADA_24], datacenter=[DataCenter.EU_RO_1, "US-CA-2"])
async def double(text: str) -> list[str]:
    return [text, text]


class Model:
    SIZE = 3

    def __init__(self, size: int) -> None:
        self.size = size

    def predict(self, x: int) -> int:
        return x


@Endpoint(cpu="cpu3c-2-4", retries=Retries(3, on=(ConnectionError, "requests.Timeout"))).batched(8, 10)
def length(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


@Endpoint(cpu="cpu3c-2-4").batched(8, 10)
async def joined(left: list[str], right: list[int]) -> list[str]:
    return [f"{one}{other}" for one, other in zip(left, right, strict=True)]


# Not as `@Endpoint(...)`: mypy, unlike pyright, takes a decorated class for the class itself.
RemoteModel = Endpoint(gpu=GpuGroup.ANY)(Model)


api = Endpoint(name="api")


@api.post("/predict/{number}")
async def predict(number: int, label: str = "") -> list[str]:
    return [label] * number


@api.websocket("/echo")
async def echo(socket: object) -> None: ...


@api.asgi
def make() -> dict[str, int]:
    return {}


async def routes() -> None:
    assert_type(await predict(1, label="x"), list[str])
    assert_type(await echo(1), None)
    assert_type(make(), dict[str, int])
    await predict("x")  # type: ignore[arg-type]
    assert_type(await api.post("/predict/1", {"label": "x"}, headers={}, params={"a": [1, 2]}, timeout=None), Any)
    assert_type(api.get.blocking("/x"), Any)


async def awaiting() -> None:
    assert_type(await add(1), float)
    assert_type(await add(1, 2, label="x"), float)
    assert_type(await double("x"), list[str])
    assert_type(await asyncio.gather(add(1), double("x")), tuple[float, list[str]])
    assert_type(await asyncio.gather(*(add(i) for i in range(3))), list[float])
    assert_type(await add.spawn.aio(1), EndpointJob[float])
    job = add.spawn(1)
    assert_type(await job.result.aio(), float)
    assert_type(await job.wait(timeout=60), Any)
    assert_type(await double.local("x"), list[str])
    assert_type(await double.recover.aio(), list[EndpointJob[list[str]]])
    assert_type(await Endpoint(name="add").recover(), Any)
    model = RemoteModel(3)
    assert_type(model, RemoteInstance[Model])
    assert_type(RemoteModel.local(3), Model)
    await model.predict(1)
    await model(1)


async def many() -> None:
    assert_type(add.map([1, 2]), Mapped[float])
    assert_type(await add.map(range(3)), list[float])
    assert_type(await add.map([1], [2], concurrency=3), list[float])
    assert_type(await double.map(["a"], return_exceptions=True), list[list[str] | Exception])
    assert_type(list(double.map(["a"], ordered=False)), list[list[str]])
    assert_type(await add.starmap([(1, 2)]), list[float])
    async for result in add.map(numbers()):
        assert_type(result, float)
    for text in joined.map(["a"], [1]):
        assert_type(text, str)


async def numbers() -> AsyncIterator[int]:
    yield 1


async def with_other_options() -> None:
    changed = add.with_options(timeout=5, queue_timeout=1.5, retries=2, webhook="https://host/", priority="low")
    assert_type(await changed(1, b=2), float)
    assert_type(await changed.with_options(retries=Retries(1)).map([1]), list[float])
    assert_type(await double.with_options(timeout=None).local("x"), list[str])


async def batched() -> None:
    assert_type(await length("x"), int)
    assert_type(await joined("x", 1), str)
    assert_type(length.remote("x"), int)
    assert_type(length.local("x"), int)
    assert_type(await joined.local("x", 1), str)
    assert_type(await length.map(["x"]), list[int])


def blocking() -> None:
    assert_type(add, RemoteFunction[..., float])  # type: ignore[assert-type]  # the parameters are known
    assert_type(add.remote(1, b=2), float)
    assert_type(double.remote("x"), list[str])
    assert_type(add.local(1), float)
    assert_type(asyncio.run(double.local("x")), list[str])
    job = double.spawn("x")
    assert_type(job, EndpointJob[list[str]])
    assert_type(job.result.blocking(timeout=3), list[str])
    assert_type(job.output, list[str] | None)
    assert_type(job.id, str)
    assert_type(job.logs.blocking(), list[str])
    assert_type(add.job("id"), EndpointJob[float])
    assert_type(add.recover.blocking(), list[EndpointJob[float]])
    assert_type(Endpoint(name="add").job("id"), EndpointJob[Any])
    assert_type(Endpoint(name="add").recover.blocking(), list[EndpointJob[Any]])
    kept: AsyncRemoteFunction[[str], list[str]] = double
    held: RemoteClass[Model] = RemoteModel
    del kept, held


async def mistakes() -> None:
    await add("x")  # type: ignore[arg-type]
    await add()  # type: ignore[call-arg]
    await add(1, lable="x")  # type: ignore[call-arg]
    add.spawn(None)  # type: ignore[arg-type]
    await double.local(5)  # type: ignore[arg-type]
    add.map(["x"])  # type: ignore[list-item]
    double.map(["x"], ["y"])  # type: ignore[call-overload]
    add.with_options(timout=5)  # type: ignore[arg-type]
    add.with_options(priority="urgent")  # type: ignore[arg-type]
    await length(["x"])  # type: ignore[arg-type]
    await joined("x", "y")  # type: ignore[arg-type]
    Retries(3, on=5)  # type: ignore[arg-type]
    Endpoint(workers="two")  # type: ignore[arg-type]
    Endpoint(dependancies=["numpy"])  # type: ignore[arg-type]
    Endpoint(gpu=5)  # type: ignore[arg-type]
