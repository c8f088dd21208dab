"""Which pool serves a job: made where there is none."""

import time
from typing import Final

from runpod_flash.control_plane.artifacts import Artifacts
from runpod_flash.control_plane.environments import Environment
from runpod_flash.control_plane.fleet import Code, Fleet, Pool, PoolKey
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.results import Values
from runpod_flash.errors import ContentNotFound
from worker_runtime.wire.jobs import Call
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest

AS_IT_IS: Final = Environment(key="", python="/bin/sh")
"""The environment of a command: what the machine and the endpoint's variables offer."""


class Pools:
    """Finds pools, and what was shipped for them."""

    def __init__(self, fleet: Fleet, artifacts: Artifacts, values: Values) -> None:
        self._fleet = fleet
        self._artifacts = artifacts
        self._values = values

    def shipped(
        self,
        endpoint: EndpointRecord,
        artifact: str,
        environment_key: str,
        environment: EnvironmentRequest | None = None,
    ) -> Pool:
        """The pool that serves an artifact of an endpoint, in `environment` or else in the one that it asks for.

        One that an old version shares with what the endpoint has now remains that of the newer one.

        Raises ContentNotFound.
        """
        manifest = self._artifacts.manifest(artifact)
        key = PoolKey(endpoint.id, environment_key, self._artifacts.files_id(artifact), manifest.max_concurrency)
        pool = self._fleet.pools.get(key)
        if pool is None:
            code = Code(environment or manifest.environment, artifact)
            pool = self._fleet.add(Pool(key, endpoint.name, code))
        self.use(pool, endpoint, artifact)
        return pool

    @staticmethod
    def use(pool: Pool, endpoint: EndpointRecord, artifact: str | None) -> None:
        """A job for a pool that serves it has come."""
        pool.name, pool.used_at = endpoint.name, time.monotonic()
        if pool.code is not None and artifact is not None and pool.code.artifact != endpoint.artifact:
            pool.code.artifact = artifact

    def of_command(self, endpoint: EndpointRecord) -> Pool:
        """The pool of an endpoint whose workers run its command or its image, which is looked for before the first."""
        key = PoolKey(endpoint.id, AS_IT_IS.key, "", 1)
        pool = self._fleet.pools.get(key)
        if pool is None:
            pool = self._fleet.add(Pool(key, endpoint.name, None, environment=AS_IT_IS))
        if pool.image != endpoint.image:
            pool.image, pool.environment = endpoint.image, None if endpoint.image else AS_IT_IS
        self.use(pool, endpoint, None)
        return pool

    def manifest(self, artifact: str) -> ArtifactManifest:
        """The manifest of an artifact. Raises ContentNotFound."""
        return self._artifacts.manifest(artifact)

    def artifact_data(self, artifact: str) -> bytes:
        """The bytes of an artifact. Raises ContentNotFound."""
        return self._artifacts.data(artifact)

    def check_content(self, call: Call) -> None:
        """Raise ContentNotFound where a value that the call names is not here."""
        for payload in call.payloads:
            if payload.name is None or self._values.has(payload.name):
                continue
            if payload.range is not None:
                raise ContentNotFound(
                    f"the arguments, of {payload.size} bytes, were in shared memory and are there no more: that "
                    "outlives processes, not the machine; submit the call again, and set FLASH_DURABILITY=power to "
                    "have arguments on disk"
                )
            raise ContentNotFound(f"there is no value {payload.name}; upload it and submit again")
