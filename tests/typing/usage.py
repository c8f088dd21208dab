"""Usage of the public API for type checkers; never run. `type: ignore` marks what must be an error."""

import asyncio
from typing import Any, assert_type

from runpod_flash import DataCenter, Endpoint, EndpointJob, GpuGroup, GpuType
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
    Endpoint(workers="two")  # type: ignore[arg-type]
    Endpoint(dependancies=["numpy"])  # type: ignore[arg-type]
    Endpoint(gpu=5)  # type: ignore[arg-type]
