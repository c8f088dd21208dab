"""What a build says of itself."""

import json

import pytest

from flash_cli.builds.manifest import BuildManifest, BuiltEndpoint, BuiltRoute
from runpod_flash.errors import ConfigError
from worker_runtime.wire.interface import Interface, Parameter

MANIFEST = BuildManifest(
    "demo",
    (
        BuiltEndpoint(
            "infer", "function", "gpu.py", "infer", {"name": "infer", "workers": {"max": 3}},
            ({"name": "models", "size": 10, "dataCenter": "EU-RO-1"},), "a" * 64, 120, "3.12", ("numpy",),
            "numpy==2.1.0 --hash=sha256:0\n", interface=Interface({"": (Parameter("data"),)}), doc="Infers.",
        ),
        BuiltEndpoint("api", "routes", "lb.py", "api", {"name": "api"}, routes=(BuiltRoute("GET", "/a", "lb.a"),)),
    ),
)  # fmt: skip


def test_it_comes_back_as_it_was() -> None:
    read = BuildManifest.from_json(json.loads(MANIFEST.dumps()))
    assert read == MANIFEST
    assert read.fingerprint == MANIFEST.fingerprint


def test_what_is_none_is_refused() -> None:
    data = MANIFEST.to_json()
    with pytest.raises(ConfigError, match="version 9"):
        BuildManifest.from_json({**data, "version": 9})
    data["endpoints"][0]["kind"] = "odd"
    with pytest.raises(ConfigError, match="kind"):
        BuildManifest.from_json(data)
    with pytest.raises(ConfigError, match="endpoints"):
        BuildManifest.from_json({"version": 1, "app": "demo", "endpoints": {}})
