"""How the workers of a load-balanced endpoint are replaced: new ones come first, then the old ones go. Pure.

A change that needs new workers leaves those that answer requests alone. As many new ones are started, and each that is
healthy takes the place of an old one. Where there is no room for both, an old one goes first. Where no new one can
start, the old ones stay, and who asks for the new version hears why there is none.
"""

from runpod_flash.control_plane.fleet import Pool, Worker, WorkerState
from runpod_flash.control_plane.records import EndpointRecord


def serves(worker: Worker) -> bool:
    """Whether it can answer requests now."""
    return worker.state is WorkerState.READY and worker.healthy


def old_servers(endpoint: EndpointRecord, pools: list[Pool]) -> list[Worker]:
    """The workers of an old generation that have not been told to end yet, the idle ones first."""
    found = [
        worker
        for pool in pools
        for worker in pool.workers.values()
        if worker.generation != endpoint.generation and worker.state is WorkerState.READY
    ]
    return sorted(found, key=lambda worker: worker.requests)


def replaced(endpoint: EndpointRecord, pools: list[Pool], now: float) -> list[Worker]:
    """The workers of an old generation that can go now (monotonic seconds)."""
    old = old_servers(endpoint, pools)
    workers = endpoint.body["workers"]
    if not old or workers["max"] == 0:
        return old
    if all(worker.idle and worker.idle_since + workers["idleTimeout"] <= now for worker in old):
        return old
    new = [worker for pool in pools for worker in pool.live(endpoint.generation)]
    starting = sum(not serves(worker) for worker in new)
    kept = starting if len(new) > starting else len(old)
    if any(pool.blocked for pool in pools) and not new:
        kept = min(kept, len(old) - 1)
    return old[: max(len(old) - kept, 0)]
