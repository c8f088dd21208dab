"""How endpoints are found, and routes come to the platform: the part of a session that is about no calls."""

import functools
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Hashable
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

from runpod_flash import options, route_types, shipping
from runpod_flash.agreement import Declarations, Provisioned, VolumeIds, provision
from runpod_flash.backends.base import Backend
from runpod_flash.delivery import Delivery, Holding, environment_of, way_to
from runpod_flash.deployed import Deployed
from runpod_flash.errors import BackendError, ContentNotFound, EndpointNotFound
from runpod_flash.output import Output
from runpod_flash.routes import RouteTable
from runpod_flash.settings import Settings, served_here
from runpod_flash.shipping import Artifact
from runpod_flash.spec import EndpointSpec
from worker_runtime.wire.specs import PackageIndex

T = TypeVar("T")

Served = tuple[EndpointSpec, str, Provisioned]
"""What an endpoint serves: as it was declared, the artifact's id, and as the platform has it."""


class Serving:
    """Finds endpoints and brings routes. A session is one, and has what this needs."""

    _declared: Declarations
    _provisioned: dict[str, Provisioned]
    _described: dict[str, Provisioned]
    _held: set[Holding]
    volume_ids: VolumeIds

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """The settings."""

    @property
    @abstractmethod
    def project(self) -> Path:
        """The folder in which names of endpoints are unique."""

    @property
    @abstractmethod
    def output(self) -> Output:
        """What shows progress to the user."""

    @property
    @abstractmethod
    def deployed(self) -> Deployed | None:
        """The stage whose endpoints names mean; None: they mean those of the project."""

    @abstractmethod
    async def backend(self) -> Backend:
        """The connection of the running event loop."""

    @abstractmethod
    def _package_index(self) -> PackageIndex:
        """Where packages come from."""

    @abstractmethod
    def _carriers(self) -> tuple[Delivery, dict[str, Served]]:
        """How code reaches the platform from this event loop, and what is served, by name."""

    @abstractmethod
    async def _shared(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do something once for all of this loop that ask for it at the same time."""

    async def named(self, name: str) -> Provisioned:
        """The endpoint of this name, which is not made. Raises EndpointNotFound, AppNotFound, StageNotFound."""
        backend, deployed = await self.backend(), self.deployed
        if deployed is not None:
            self._provisioned[name] = await self._shared(("find", name), lambda: deployed.find(backend, name))
            return self._provisioned[name]
        found = await self._shared(("find", name), lambda: backend.find(name))
        if found is None:
            raise EndpointNotFound(
                f"the platform has no endpoint '{name}' in project {self.project}; its first call makes it, or "
                f"Endpoint(name={name!r}, …).provision()"
            )
        self._provisioned[name] = Provisioned.of(found)
        return self._provisioned[name]

    async def described(self, endpoint_id: str) -> Provisioned:
        """The endpoint with this id. Raises EndpointNotFound."""
        found = Provisioned.of(await (await self.backend()).describe(endpoint_id))
        self._described[endpoint_id] = found
        return found

    async def serve(self, table: RouteTable) -> Provisioned:
        """The endpoint of these routes, which after this is on the platform as declared, and serves them.

        On a worker of the endpoint, and where it is deployed, it is found as it is.

        Raises:
            ConfigError, ShippingError, BackendError: see `errors`.
        """
        backend, spec = await self.backend(), table.spec
        if served_here(spec.name):
            return await self.named(spec.name)
        if self.deployed is not None:
            served = self._carriers()[1]
            if spec.name not in served:
                served[spec.name] = spec, "", await self.named(spec.name)
            return served[spec.name][2]
        if not backend.serves_routes:
            raise BackendError(
                f"the routes of endpoint '{spec.name}' cannot be served by this target: it takes no code for that; "
                "call the functions here, or choose another target"
            )
        way = way_to(spec, self.settings, backend)
        code = route_types.code_of(table)
        artifact = shipping.ship(
            code.target,
            name=spec.name,
            environment=environment_of(spec, way, backend, self._package_index(), code.packages),
            max_concurrency=1,
            way=way,
            gives_routes=True,
        )
        try:
            return await self._served(backend, spec, code.target, artifact)
        except ContentNotFound:
            self._held.clear()
            return await self._served(backend, spec, code.target, artifact)

    def forget_served(self, name: str) -> None:
        """The endpoint of this name is not there any more."""
        self._carriers()[1].pop(name, None)

    async def _served(
        self, backend: Backend, spec: EndpointSpec, target: FunctionType, artifact: Artifact
    ) -> Provisioned:
        delivery, served = self._carriers()
        known = served.get(spec.name)
        if known is None or known[:2] != (spec, artifact.id):
            self._declared.add(spec, target)
            options.check_requirements(spec)
            for key, message in route_types.without_effect(spec).items():
                self.output.notice({"key": key, "message": message})
            await delivery.upload(backend, artifact)
            making = functools.partial(provision, backend, spec, self.output, self.volume_ids, artifact.id)
            found = await self._shared((spec, artifact.id), making)
            known = served[spec.name] = spec, artifact.id, found
        self._provisioned[spec.name] = known[2]
        return known[2]
