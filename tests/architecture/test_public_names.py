"""The face of the SDK is one list. A name that comes or goes is a decision, made here too."""

import pytest

import runpod_flash
from runpod_flash.release import VERSION

NAMES = [
    "CPU_DATACENTERS",
    "CpuInstanceType",
    "CudaVersion",
    "DEFAULT_WORKERS_MAX",
    "DEFAULT_WORKERS_MIN",
    "DataCenter",
    "Endpoint",
    "EndpointJob",
    "GpuGroup",
    "GpuType",
    "NetworkVolume",
    "PodTemplate",
    "Retries",
    "ServerlessScalerType",
    "ServerlessType",
    "progress",
]


def test_the_list_is_this_one() -> None:
    assert sorted(runpod_flash.__all__) == NAMES
    assert set(NAMES) <= set(dir(runpod_flash))


@pytest.mark.parametrize("name", NAMES)
def test_each_name_leads_to_something_documented(name: str) -> None:
    found = getattr(runpod_flash, name)
    if isinstance(found, type):
        assert found.__doc__
        assert found.__module__.startswith("runpod_flash")


def test_version() -> None:
    assert runpod_flash.__version__ == VERSION


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(runpod_flash, "no_such_name")  # noqa: B009 - a literal attribute would fail the type check
