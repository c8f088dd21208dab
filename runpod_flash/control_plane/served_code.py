"""Endpoints with code of their own, routes or calls: which pool is theirs, and why there can be none."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from runpod_flash.control_plane.environments import Environments, InstallFailed
from runpod_flash.control_plane.fleet import Pool
from runpod_flash.control_plane.pools import Pools
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.errors import ContentNotFound
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.specs import EnvironmentRequest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """What an artifact needs: its environment, and the key of that."""

    artifact: str
    key: str
    environment: EnvironmentRequest


class ServedCode:
    """Asks once for each artifact which environment it needs: an interpreter has to be looked at for that.

    Attributes:
        vet: gives the environment that the endpoint's owner may have; raises InstallFailed where it is none.
        on_known: called with an endpoint's id when its pool is there, or it is known that there is none.
    """

    def __init__(self, pools: Pools, environments: Environments) -> None:
        self._pools = pools
        self._environments = environments
        self._places: dict[str, _Place] = {}  # by endpoint
        self._refusals: dict[str, str] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self.vet: Callable[[EndpointRecord, EnvironmentRequest], EnvironmentRequest] = lambda endpoint, request: request
        self.on_known: Callable[[str], None] = lambda endpoint: None

    def pool(self, endpoint: EndpointRecord) -> Pool | None:
        """The endpoint's pool; None where it is not known yet, or cannot be."""
        place = self._places.get(endpoint.id)
        if place is None or place.artifact != endpoint.artifact:
            return None
        try:
            pool = self._pools.shipped(endpoint, place.artifact, place.key, place.environment)
        except ContentNotFound as error:
            self._refuse(endpoint, str(error))
            return None
        if pool.environment is None:
            pool.environment = self._environments.ready(place.key)
        return pool

    def refusal(self, endpoint_id: str) -> str | None:
        """Why the endpoint can have no pool; None where it may have one."""
        return self._refusals.get(endpoint_id)

    def look(self, endpoint: EndpointRecord) -> None:
        """Find out where the endpoint's artifact can be served, unless that is under way; `on_known` hears of it."""
        self._refusals.pop(endpoint.id, None)
        asking = self._asking.get(endpoint.id)
        if asking is not None:
            asking.cancel()
        task = self._asking[endpoint.id] = asyncio.create_task(self._ask(endpoint))
        task.add_done_callback(lambda done: self._asked(endpoint.id, done))

    def forget(self, endpoint_id: str) -> None:
        """The endpoint is gone."""
        self._places.pop(endpoint_id, None)
        self._refusals.pop(endpoint_id, None)
        asking = self._asking.pop(endpoint_id, None)
        if asking is not None:
            asking.cancel()

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _ask(self, endpoint: EndpointRecord) -> None:
        assert endpoint.artifact is not None
        try:
            wanted = self.vet(endpoint, self._pools.manifest(endpoint.artifact).environment)
            key = await self._environments.key(wanted)
        except (InstallFailed, ContentNotFound, WireError, OSError) as error:
            self._refuse(endpoint, str(error))
        else:
            self._places[endpoint.id] = _Place(endpoint.artifact, key, wanted)
            self.pool(endpoint)
        self.on_known(endpoint.id)

    def _asked(self, endpoint_id: str, task: "asyncio.Task[None]") -> None:
        if self._asking.get(endpoint_id) is task:
            del self._asking[endpoint_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the code of endpoint %s cannot be run", endpoint_id, exc_info=error)
            self._refusals[endpoint_id] = f"the control plane failed: {type(error).__name__}: {error}"
            self.on_known(endpoint_id)

    def _refuse(self, endpoint: EndpointRecord, reason: str) -> None:
        logger.warning("the code of endpoint %s (%s) cannot be run: %s", endpoint.name, endpoint.id, reason)
        self._places.pop(endpoint.id, None)
        self._refusals[endpoint.id] = reason
