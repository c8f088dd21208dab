"""Network volumes for type checkers; never run. `type: ignore` marks what must be an error."""

from pathlib import Path
from typing import assert_type

from runpod_flash import DataCenter, Endpoint, NetworkVolume
from runpod_flash.volumes import VolumeEntry

models = NetworkVolume("models", size=50, datacenter=DataCenter.US_GA_2)
others = NetworkVolume(id="agv6w2qcg7", dataCenterId="eu-ro-1")


@Endpoint(volume=models)
def one() -> int:
    return 1


@Endpoint(volume=[models, others], datacenter=[DataCenter.US_GA_2, "EU-RO-1"])
def several() -> int:
    return 2


def blocking() -> None:
    assert_type(models.id, str | None)
    assert_type(models.datacenter, DataCenter | None)
    assert_type(models.provision.blocking(), NetworkVolume)
    assert_type(models.put.blocking(Path("a"), "/a"), None)
    assert_type(models.get.blocking("/a", "a"), None)
    assert_type(models.list.blocking("/"), list[VolumeEntry])
    assert_type(models.delete.blocking("/a"), None)
    assert_type(Endpoint("x", volume=models).volume, list[NetworkVolume] | None)


async def awaiting() -> None:
    assert_type(await models.deploy.aio(), NetworkVolume)
    assert_type(await models.put.aio("a", "/a"), None)
    assert_type(await models.list.aio(path="/"), list[VolumeEntry])


def mistakes() -> None:
    NetworkVolume(5)  # type: ignore[arg-type]
    NetworkVolume("x", sise=5)  # type: ignore[arg-type]
    models.put.blocking("a")  # type: ignore[call-arg]
    models.get.blocking(Path("a"), "a")  # type: ignore[arg-type]
    Endpoint(volume="models")  # type: ignore[arg-type]
