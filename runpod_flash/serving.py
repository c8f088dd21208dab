"""How routes come to the platform: the part of a session that brings endpoints which answer HTTP requests."""

from abc import abstractmethod
from collections.abc import Callable, Coroutine, Hashable
from types import FunctionType
from typing import Any, TypeVar

from runpod_flash import options, route_types, settings, shipping
from runpod_flash.agreement import Declarations, Provisioned, provision
from runpod_flash.backends.base import Backend
from runpod_flash.delivery import Delivery
from runpod_flash.errors import BackendError, ContentNotFound
from runpod_flash.output import Output
from runpod_flash.routes import RouteTable
from runpod_flash.shipping import Artifact
from runpod_flash.spec import EndpointSpec
from worker_runtime.wire.specs import EnvironmentRequest

T = TypeVar("T")

Served = tuple[EndpointSpec, str, Provisioned]
"""What an endpoint serves: as it was declared, the artifact's id, and as the platform has it."""


class Serving:
    """Brings routes to the platform. A session is one, and has what this needs."""

    _declared: Declarations
    _provisioned: dict[str, Provisioned]

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
    def forget_uploads(self) -> None:
        """The platform has lost something: nothing is known to be there."""

    @abstractmethod
    def _environment(self, backend: Backend, spec: EndpointSpec, packages: tuple[str, ...] = ()) -> EnvironmentRequest:
        """What the workers need; `packages`: more than the user named."""

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
        if settings.served_here(spec.name):
            return await self.named(spec.name)
        if not backend.serves_routes:
            raise BackendError(
                f"the routes of endpoint '{spec.name}' cannot be served by this target: it takes no code for that; "
                "call the functions here, or choose another target"
            )
        code = route_types.code_of(table)
        artifact = shipping.ship(
            code.target,
            name=spec.name,
            environment=self._environment(backend, spec, code.packages),
            max_concurrency=1,
            gives_routes=True,
        )
        try:
            return await self._served(backend, spec, code.target, artifact)
        except ContentNotFound:
            self.forget_uploads()
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
            found = await self._shared((spec, artifact.id), lambda: provision(backend, spec, self.output, artifact.id))
            known = served[spec.name] = spec, artifact.id, found
        self._provisioned[spec.name] = known[2]
        return known[2]
