"""Which pool serves a job."""

from dataclasses import replace

import pytest

from runpod_flash.control_plane.artifacts import Artifacts
from runpod_flash.control_plane.fleet import Fleet
from runpod_flash.control_plane.pools import AS_IT_IS, Pools
from runpod_flash.errors import ContentNotFound
from tests.support.memory_fleet import MemoryArtifacts, MemoryValues, artifact
from tests.support.take_scene import ENDPOINT
from worker_runtime.wire import paths
from worker_runtime.wire.jobs import Call, Payload


def made() -> tuple[Pools, Fleet, MemoryArtifacts, MemoryValues]:
    fleet, artifacts, values = Fleet(), MemoryArtifacts(), MemoryValues()
    return Pools(fleet, Artifacts(artifacts), values), fleet, artifacts, values


def test_a_command_has_one_pool_with_what_the_machine_has() -> None:
    pools, fleet, *_ = made()
    pool = pools.of_command(ENDPOINT)
    assert (pool.code, pool.environment, pool.key.concurrency) == (None, AS_IT_IS, 1)
    assert AS_IT_IS.whole
    assert pools.of_command(replace(ENDPOINT, name="renamed", generation=2)) is pool
    assert pool.name == "renamed"
    assert pools.of_command(replace(ENDPOINT, id="e2")) is not pool
    assert len(fleet.pools) == 2


def test_shipped_code_has_a_pool_for_its_environment_files_and_concurrency() -> None:
    pools, fleet, artifacts, _ = made()
    plain, wide = artifact(artifacts), artifact(artifacts, concurrency=4)
    pool = pools.shipped(ENDPOINT, plain, "environment")
    assert pool.code is not None
    assert (pool.code.artifact, pool.environment) == (plain, None)
    assert pools.shipped(ENDPOINT, plain, "environment") is pool
    others = [
        pools.shipped(ENDPOINT, plain, "another"),
        pools.shipped(ENDPOINT, wide, "environment"),
        pools.shipped(ENDPOINT, artifact(artifacts, files={"a.py": b""}), "environment"),
        pools.of_command(ENDPOINT),
    ]
    assert len({id(other) for other in (pool, *others)}) == 5
    assert next(iter(fleet.of(ENDPOINT.id))).key == others[-1].key  # the one used last comes first


def test_content_that_is_not_here() -> None:
    pools, _, artifacts, values = made()
    missing = "0" * 64
    with pytest.raises(ContentNotFound):
        pools.shipped(ENDPOINT, missing, "environment")
    call = Call(artifact(artifacts), Payload(sha256=missing, size=1))
    with pytest.raises(ContentNotFound, match=missing):
        pools.check_content(call)
    values.held[missing] = b"x"
    pools.check_content(call)
    assert pools.artifact_data(call.artifact) == artifacts.held[call.artifact]
    assert pools.manifest(call.artifact).id == call.artifact


def test_a_pool_that_versions_share_is_that_of_the_one_that_the_endpoint_has() -> None:
    pools, _, artifacts, _ = made()
    old = artifact(artifacts)
    other = replace(pools.manifest(old), code="other")
    artifacts.held[other.id] = paths.pack(other, b"code", {})
    endpoint = replace(ENDPOINT, body={"type": "QUEUE", "artifact": old})
    pool = pools.shipped(endpoint, old, "environment")
    changed = replace(endpoint, body={"type": "QUEUE", "artifact": other.id})
    assert pool.code is not None
    assert pools.shipped(changed, old, "environment") is pool  # a job of before, once more
    assert pool.code.artifact == old
    assert pools.shipped(changed, other.id, "environment") is pool
    assert pools.shipped(changed, old, "environment") is pool
    assert pool.code.artifact == other.id
