"""Which worker gets a request. Pure: affinity, health and load in, a worker or a reason out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from runpod_flash.control_plane.problems import Problem

WORKER_ID: Final = "X-Runpod-Worker-Id"
"""The header by which a request asks for a worker, and a reply names the one that gave it."""

VERSION: Final = "X-Flash-Version"
"""The header by which a request refuses workers of an older version of the endpoint than this one."""

_DIGITS: Final = 16
_STRICT: Final = ("strict", "strict-resume")  # a worker that was ended cannot be resumed here, so they are the same


class Bond(StrEnum):
    """How much a request insists on one worker."""

    NONE = "none"
    SOFT = "soft"  # that worker where it is healthy, else any
    STRICT = "strict"  # that worker or none


@dataclass(frozen=True, slots=True)
class Affinity:
    """What a request asks for. `worker` is empty where it asks for none; workers of older versions do not serve it."""

    bond: Bond = Bond.NONE
    worker: str = ""
    least_version: int = 0

    @classmethod
    def parse(cls, header: str, version: str = "") -> "Affinity":
        """Read the headers' values: empty, `<id>`, `strict <id>` or `strict-resume <id>`; empty, or a version.

        Raises Problem: 400, they are something else.
        """
        if version and not (version.isascii() and version.isdigit() and len(version) < _DIGITS):
            raise Problem(400, f"header {VERSION} is {version!r:.80}; it must be the number of an endpoint's version")
        least = int(version or 0)
        match header.split():
            case []:
                return cls(least_version=least)
            case [worker] if worker not in _STRICT:
                return cls(Bond.SOFT, worker, least)
            case [bond, worker] if bond in _STRICT:
                return cls(Bond.STRICT, worker, least)
        raise Problem(
            400,
            f"header {WORKER_ID} is {header!r:.80}; it must be empty, '<id>', 'strict <id>' or 'strict-resume <id>'",
        )


@dataclass(frozen=True, slots=True)
class Upstream:
    """A worker that serves HTTP on `port` of 127.0.0.1. `draining`: it is to end, and gets nothing new.

    `version` is the endpoint's when it was started. `keeps`: its server closes no idle connection as long as it lives.
    """

    id: str
    port: int
    healthy: bool
    draining: bool = False
    version: int = 0
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """What a worker has to do: requests that run in it, and the number of the pick that chose it last."""

    in_flight: int = 0
    last_pick: int = 0


class Unpicked(Enum):
    """Why there is no worker for a request."""

    WAIT = "wait"  # there may be one later
    GONE = "gone"  # the worker that it insists on does not live any more


_IDLE: Final = Use()


def pick(affinity: Affinity, workers: Iterable[Upstream], uses: Mapping[str, Use]) -> Upstream | Unpicked:
    """The worker for a request: the wanted one, else the one with the fewest requests in flight.

    Among equals it is the one whose last pick is the longest ago, so that single requests are spread, too. `uses` is by
    worker id; a worker without one is idle.
    """
    usable = {
        worker.id: worker for worker in workers if not worker.draining and worker.version >= affinity.least_version
    }
    wanted = usable.get(affinity.worker)
    if affinity.bond is Bond.STRICT and wanted is None:
        return Unpicked.GONE
    if wanted is not None and wanted.healthy:
        return wanted
    healthy = [worker for worker in usable.values() if worker.healthy]
    if affinity.bond is Bond.STRICT or not healthy:
        return Unpicked.WAIT

    def order(worker: Upstream) -> tuple[int, int, str]:
        use = uses.get(worker.id, _IDLE)
        return use.in_flight, use.last_pick, worker.id

    return min(healthy, key=order)
