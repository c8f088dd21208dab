"""How routes come to the platform: the part of a session that brings endpoints which answer HTTP requests."""

import functools
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Hashable
from types import FunctionType
from typing import Any, TypeVar

from runpod_flash import options, route_types, shipping
from runpod_flash.agreement import Declarations, Provisioned, VolumeIds, provision
from runpod_flash.backends.base import Backend
from runpod_flash.delivery import Delivery, Holding, environment_of, way_to
from runpod_flash.errors import BackendError, ContentNotFound, NotPortable
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
    """Brings routes to the platform. A session is one, and has what this needs."""

    _declared: Declarations
    _provisioned: dict[str, Provisioned]
    _held: set[Holding]
    volume_ids: VolumeIds

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """The settings."""

    @property
    @abstractmethod
    def output(self) -> Output:
        """What shows progress to the user."""

    @abstractmethod
    async def backend(self) -> Backend:
        """The connection of the running event loop."""

    @abstractmethod
    async def named(self, name: str) -> Provisioned:
        """The endpoint of this name, which is not made. Raises EndpointNotFound."""

    @abstractmethod
    def _package_index(self) -> PackageIndex:
        """Where packages come from."""

    @abstractmethod
    def _carriers(self) -> tuple[Delivery, dict[str, Served]]:
        """How code reaches the platform from this event loop, and what is served, by name."""

    @abstractmethod
    async def _shared(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do something once for all of this loop that ask for it at the same time."""

    async def serve(self, table: RouteTable) -> Provisioned:
        """The endpoint of these routes, which after this is on the platform as declared, and serves them.

        On a worker of the endpoint it is found as it is.

        Raises:
            ConfigError, ShippingError, BackendError: see `errors`.
        """
        backend, spec = await self.backend(), table.spec
        if served_here(spec.name):
            return await self.named(spec.name)
        if not backend.serves_routes:
            raise BackendError(
                f"the routes of endpoint '{spec.name}' cannot be served by this target: it takes no code for that; "
                "call the functions here, or choose another target"
            )
        way = way_to(spec, self.settings, backend)
        if way.neutral:
            raise NotPortable(
                f"the routes of endpoint '{spec.name}' go to its workers as pickles alone, and {way.reason}; use "
                "workers of the same Python, on a platform that takes your pickles"
            )
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
