"""What only the platform can fill in."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from flash_cli.builds.manifest import BuildManifest, BuiltEndpoint
from flash_cli.deploys import bodies
from runpod_flash.backends.base import Backend, Json
from runpod_flash.errors import ConfigError
from runpod_flash.output import Output
from worker_runtime.wire import paths
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest

FILES = {"a.py": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}  # of b"x"


class Target:
    """A platform with the volumes of one scope."""

    default_queue_delay = 4.0

    def __init__(self) -> None:
        self.volumes = self
        self.there: dict[tuple[str, str], str] = {}

    async def find(self, name: str, datacenter: str) -> Json | None:
        found = self.there.get((name, datacenter))
        return None if found is None else {"id": found, "size": 10}

    async def get(self, volume_id: str) -> Json:
        return {"id": volume_id}

    async def create(self, name: str, size: int, datacenter: str) -> Json:
        self.there[name, datacenter] = f"id-of-{name}"
        return {"id": self.there[name, datacenter]}


def whole(target: Target, make: bool, artifact: Path | None = None, **endpoint: Any) -> bodies.Whole:
    body = endpoint.pop("body", {"name": "e"})
    built = BuiltEndpoint("e", "function", "a.py", "e", body, artifact="1" * 64, **endpoint)
    artifacts = {} if artifact is None else {"1" * 64: artifact}
    return asyncio.run(
        bodies.whole(BuildManifest("demo", (built,)), artifacts, cast(Backend, target), Output(), make=make)
    )


def test_scaling_is_the_platforms_where_the_user_named_none() -> None:
    body = whole(Target(), make=True).manifest.endpoints[0].body
    assert body == {"name": "e", "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4.0}, "networkVolumes": []}
    named = {"name": "e", "scaling": {"type": "REQUEST_COUNT", "requestCount": 2}}
    assert whole(Target(), make=True, body=named).manifest.endpoints[0].body["scaling"] == named["scaling"]


def test_volumes_are_only_looked_for_until_they_shall_be_made() -> None:
    target = Target()
    volumes = ({"name": "models", "size": 10, "dataCenter": "EU-RO-1"}, {"id": "given"})
    planned = whole(target, make=False, volumes=volumes)
    assert (planned.new_volumes, target.there) == (("models",), {})
    assert planned.manifest.endpoints[0].body["networkVolumes"] == ["new: models", "given"]
    made = whole(target, make=True, volumes=volumes)
    assert made.manifest.endpoints[0].body["networkVolumes"] == ["id-of-models", "given"]
    again = whole(target, make=False, volumes=volumes)
    assert (again.new_volumes, again.manifest) == ((), made.manifest)
    with pytest.raises(ConfigError, match="no 'name'"):
        whole(target, make=True, volumes=({"size": 10},))


def test_the_files_of_code_are_told(tmp_path: Path) -> None:
    manifest = ArtifactManifest("function", "e", "c" * 64, EnvironmentRequest("3.12"), "a:e", FILES)
    file = tmp_path / "artifact"
    file.write_bytes(paths.pack(manifest, None, {"a.py": b"x"}))
    assert whole(Target(), make=True, artifact=file).manifest.endpoints[0].files == FILES
    file.write_bytes(b"no zip")
    with pytest.raises(ConfigError, match="build the project anew"):
        whole(Target(), make=True, artifact=file)


def test_what_is_deployed_already() -> None:
    assert bodies.deployed({"manifest": {}}) is None
    assert bodies.deployed({"manifest": {"version": 99, "endpoints": [{"name": "a"}]}}) is None
    manifest = whole(Target(), make=True).manifest
    assert bodies.deployed({"manifest": manifest.to_json()}) == manifest
