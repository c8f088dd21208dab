"""How calls are batched. Apart from the other specs, since declaring an endpoint needs none of those."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.fields import require


@dataclass(frozen=True, slots=True)
class Batch:
    """How calls are batched: at most `max_size` together, which wait at most `max_wait_ms` for each other."""

    max_size: int
    max_wait_ms: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Batch":
        size, wait = require(data, "max_size", int), require(data, "max_wait_ms", int)
        if size < 1 or wait < 0:
            raise WireError(f"a batch of {size} calls that waits {wait} ms is none")
        return cls(size, wait)
