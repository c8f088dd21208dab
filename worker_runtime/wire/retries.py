"""Which exceptions of a function are worth another attempt, and how long that attempt waits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker_runtime.wire.fields import seconds, strings


@dataclass(frozen=True, slots=True)
class Backoff:
    """The finer part of `retries`. Times in seconds.

    Attributes:
        on: names of exception classes (see `matches`) after which another attempt is made; None: after any.
        initial_delay_s: how long the first of them waits.
        coefficient: by how much each pause is longer than the one before.
        max_delay_s: the longest pause.
    """

    on: tuple[str, ...] | None = None
    initial_delay_s: float = 0.0
    coefficient: float = 1.0
    max_delay_s: float = 0.0

    def covers(self, kinds: Sequence[str]) -> bool:
        """Whether it is worth another attempt. `kinds`: the exception's class and those it derives from, by name."""
        return self.on is None or any(matches(name, kind) for name in self.on for kind in kinds)

    def delay_s(self, retry: int) -> float:
        """How long this retry waits; the first has the number 1."""
        grown = self.initial_delay_s
        for _ in range(retry - 1):
            if not 0 < grown < self.max_delay_s:
                break
            grown *= self.coefficient
        return min(grown, self.max_delay_s)

    def to_json(self) -> dict[str, Any]:
        return {
            "on": None if self.on is None else list(self.on),
            "initial_delay_s": self.initial_delay_s,
            "coefficient": self.coefficient,
            "max_delay_s": self.max_delay_s,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Backoff":
        """Read what `to_json` wrote. Raises WireError."""
        return cls(
            on=None if data.get("on") is None else strings(data, "on"),
            initial_delay_s=seconds(data, "initial_delay_s", 0.0),
            coefficient=seconds(data, "coefficient", 1.0),
            max_delay_s=seconds(data, "max_delay_s", 0.0),
        )


def matches(name: str, kind: str) -> bool:
    """Whether a name that a user has written means a class, given by module and qualified name.

    It may leave out the end of the module, or all of it: "requests.Timeout" and "Timeout" mean
    "requests.exceptions.Timeout", "exceptions.Timeout" does not.
    """
    if name == kind:
        return True
    module, _, last = name.rpartition(".")
    home, _, own = kind.rpartition(".")
    return last == own and (not module or home == module or home.startswith(f"{module}."))
