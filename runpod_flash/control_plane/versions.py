"""How an endpoint with code of its own, which takes jobs, gets from one version to the next. Pure.

A job is bound to the version that was there when it was submitted. So after a change those of the old one are still run
by its own workers, which go when no job waits for them, while workers of the new version start beside them.
"""

from runpod_flash.control_plane.fleet import Pool, Worker, WorkerState
from runpod_flash.control_plane.records import EndpointRecord


def is_current(pool: Pool, endpoint: EndpointRecord) -> bool:
    """Whether a pool runs what is submitted now; so does every pool of an endpoint whose calls bring their code."""
    return endpoint.artifact is None or (pool.code is not None and pool.code.artifact == endpoint.artifact)


def is_old(pool: Pool, endpoint: EndpointRecord) -> bool:
    """Whether a pool is left for jobs that were submitted before the last change."""
    return endpoint.has_own_calls and not is_current(pool, endpoint)


def live(pool: Pool, endpoint: EndpointRecord) -> list[Worker]:
    """The workers of a pool that can take new jobs now or soon; those of an old one need not have the last settings."""
    return list(pool.live(None if is_old(pool, endpoint) else endpoint.generation))


def ordered(pools: list[Pool], endpoint: EndpointRecord) -> list[Pool]:
    """The pools as they are, but for those of old versions, which come last."""
    return sorted(pools, key=lambda pool: is_old(pool, endpoint))


def outdated(endpoint: EndpointRecord, pools: list[Pool]) -> list[Worker]:
    """The workers that shall end when nothing runs in them: of old settings, or of an old version without jobs."""
    if not endpoint.has_own_calls:
        return []
    return [
        worker
        for pool in pools
        for worker in pool.workers.values()
        if worker.state in (WorkerState.STARTING, WorkerState.READY)
        and (not (pool.queue or worker.queue) if is_old(pool, endpoint) else worker.generation != endpoint.generation)
    ]
