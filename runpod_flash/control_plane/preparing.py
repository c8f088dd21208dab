"""What new workers start from is there before an endpoint changes, or the change is refused."""

from collections.abc import Callable

from runpod_flash.control_plane.containers import Engine
from runpod_flash.control_plane.environments import Environments, InstallFailed
from runpod_flash.control_plane.pools import Pools
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.errors import ConfigError, InstallError
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.jobs import ErrorInfo
from worker_runtime.wire.specs import EnvironmentRequest


class Preparing:
    """Builds environments and fetches images.

    Attributes:
        vet: gives the environment that the endpoint's owner may have; raises InstallFailed where it is none.
        refusal: why this machine can never have a worker for an endpoint; None where it can.
    """

    def __init__(self, pools: Pools, environments: Environments, engine: Engine) -> None:
        self._pools = pools
        self._environments = environments
        self._engine = engine
        self.vet: Callable[[EndpointRecord, EnvironmentRequest], EnvironmentRequest] = lambda endpoint, request: request
        self.refusal: Callable[[EndpointRecord], ErrorInfo | None] = lambda endpoint: None

    async def prepare(self, endpoint: EndpointRecord, say: Callable[[str], None]) -> None:
        """Make ready what the endpoint's workers start from; `say` hears how far it is.

        Raises:
            ContentNotFound: its artifact is not here.
            Problem: 422, it cannot be installed or fetched, or this machine can have no such workers.
        """
        refusal = self.refusal(endpoint)
        if refusal is not None:
            raise _refused(endpoint, refusal.message, ConfigError)
        try:
            if endpoint.artifact is not None:
                wanted = self.vet(endpoint, self._pools.manifest(endpoint.artifact).environment)
                await self._environments.get(wanted, on_stage=say)
            elif endpoint.image is not None:
                await self._engine.prepare(endpoint.image, say)
        except InstallFailed as failure:
            raise _refused(endpoint, str(failure), InstallError) from None
        except WireError as fault:
            raise _refused(endpoint, f"its artifact cannot be read: {fault}", ConfigError) from None


def _refused(endpoint: EndpointRecord, words: str, kind: type[Exception]) -> Problem:
    return Problem(422, f"endpoint {endpoint.name!r}: {words}", code=kind.__name__)
