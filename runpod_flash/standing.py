"""What is settled once for all calls of one function over one connection, so that later ones need arguments alone.

It stands as long as the function, what it refers to, its endpoint and the platform's memory of it are as they were.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runpod_flash import shipping
from runpod_flash.agreement import Provisioned
from runpod_flash.backends.waiting import Kind
from runpod_flash.calls import Request
from runpod_flash.crossing import Crossing
from runpod_flash.delivery import Holding
from runpod_flash.journal import Journal
from runpod_flash.shipping import Artifact
from runpod_flash.spec import EndpointSpec
from worker_runtime.wire.pieces import Encoded

KEPT: Final = 512
"""How many are remembered for one event loop."""

Same = tuple[Any, ...]
"""What calls must have in common, by identity; and the interpreter whose packages they need."""


def same_of(request: Request, *, by_shape: bool) -> Same:
    """What tells requests apart of which one stands for the other. `by_shape`: also which parameters they fill."""
    found = (
        id(request.target),
        request.method,
        id(request.spec),
        id(request.options),
        id(request.retries),
        request.stream,
        id(request.instance),
        sys.executable,
    )
    return (*found, len(request.args), *request.kwargs) if by_shape else found


@dataclass(slots=True, eq=False)
class Standing:
    """See the module.

    Attributes:
        held: the objects by whose identity it is found, so that they stay what they are.
        way: how code and values go.
        artifact: the code; None where the endpoint has its own.
        agreed: the endpoint, as declared and as it is there.
        kind: what the calls have in common on their way.
        holding: what the platform must have.
    """

    held: tuple[object, ...]
    target: Any
    way: Crossing
    artifact: Artifact | None
    agreed: tuple[EndpointSpec, Provisioned]
    kind: Kind
    holding: Holding

    def stands(self, agreed: tuple[EndpointSpec, Provisioned] | None, held: set[Holding]) -> bool:
        """Whether a call may go as the last one did. `agreed` and `held` are what the session knows now."""
        if agreed is not self.agreed:
            return False
        return self.artifact is None or (self.holding in held and shipping.is_current(self.target, self.artifact))

    def encoded(self, request: Request) -> Encoded:
        """The encoded arguments. Raises as `delivery.encoded` does."""
        target, way = request.target, self.way
        return shipping.encode_arguments(
            request.args, request.kwargs, target_name=request.shown, target=target, way=way
        )


class Noted:
    """Notes calls of one function in the journal: see `conversation.Notes`."""

    __slots__ = ("_endpoint", "_journal")

    def __init__(self, journal: Journal, endpoint: str, endpoint_id: str, function: str) -> None:
        self._journal, self._endpoint = journal, (endpoint, endpoint_id, function)

    def leaving(self, keys: Sequence[str]) -> None:
        self._journal.submitting_many(keys, *self._endpoint)

    def accepted(self, jobs: Iterable[tuple[str, str]]) -> None:
        self._journal.acknowledged_many(jobs)


class Standings:
    """Those of one event loop."""

    def __init__(self) -> None:
        self._known: dict[Same, Standing] = {}

    def get(self, same: Same) -> Standing | None:
        """The one of such requests, whether it stands or not."""
        return self._known.get(same)

    def put(self, same: Same, standing: Standing) -> None:
        """Remember one. Above `KEPT` all others are forgotten."""
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[same] = standing

    def clear(self) -> None:
        """The platform has lost something: all is to be settled anew."""
        self._known.clear()
