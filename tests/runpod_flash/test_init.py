"""The package's face: loaded late, by name."""

import subprocess
import sys

import pytest

import runpod_flash
from runpod_flash import endpoint, hardware, job, release, template


def test_names_lead_to_their_homes() -> None:
    assert runpod_flash.Endpoint is endpoint.Endpoint
    assert runpod_flash.EndpointJob is job.EndpointJob
    assert runpod_flash.GpuType is hardware.GpuType
    assert runpod_flash.PodTemplate is template.PodTemplate
    assert (runpod_flash.DEFAULT_WORKERS_MIN, runpod_flash.DEFAULT_WORKERS_MAX) == (0, 1)
    assert runpod_flash.__version__ == release.VERSION
    constants_first = sorted(runpod_flash.__all__, key=lambda name: (not name.isupper(), name))
    assert list(runpod_flash.__all__) == constants_first


def test_no_other_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'remotes'"):
        runpod_flash.remotes  # noqa: B018


def test_importing_endpoint_loads_nothing_heavy() -> None:
    program = "import sys; from runpod_flash import Endpoint; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "asyncio",
        "httpx",
        "cloudpickle",
        "pathlib",
        "platformdirs",
        "dotenv",
        "packaging",
        "logging",
        "subprocess",
    }
    assert not heavy & set(loaded)
