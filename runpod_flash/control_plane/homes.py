"""Where the objects of remote classes live: each on one worker, until that is lost."""

from collections.abc import Callable

from runpod_flash.control_plane.fleet import Job, Worker, WorkerState
from worker_runtime.wire import messages

INSTANCES_PER_WORKER = 100
_REMEMBERED = 10_000


class Homes:
    """Which worker holds which object. `tell(job, instance, worker)` is called where an object is built once more."""

    def __init__(self, tell: Callable[[Job, str, Worker], None]) -> None:
        self._tell = tell
        self._homes: dict[str, Worker] = {}
        self._orphans: dict[str, str] = {}  # objects whose worker was lost, oldest first, with their endpoints

    def of(self, job: Job) -> Worker | None:
        """The worker on which the job's object lives, if that can take it."""
        home = self._homes.get(job.instance) if job.instance is not None else None
        return home if home is not None and home.state is WorkerState.READY and home.pool is job.pool else None

    def bind(self, job: Job, instance: str, worker: Worker) -> None:
        """From now on the object lives on this worker."""
        old = self._homes.get(instance)
        if old is not None:
            old.instances.discard(instance)
        self._homes[instance] = worker
        worker.instances.add(instance)
        if instance in self._orphans or old is not None:
            self._orphans.pop(instance, None)
            self._tell(job, instance, worker)

    def lose(self, worker: Worker) -> None:
        """The worker has gone: its objects are built elsewhere when they are called again."""
        for instance in worker.instances:
            if self._homes.get(instance) is worker:
                del self._homes[instance]
                self._orphans[instance] = worker.pool.key.endpoint
        while len(self._orphans) > _REMEMBERED:
            self._orphans.pop(next(iter(self._orphans)))

    def drop(self, instance: str, sees: Callable[[str], bool]) -> None:
        """Close an object where it lives. Nothing happens where it is unknown, or of an endpoint that is not seen."""
        worker = self._homes.get(instance)
        endpoint = worker.pool.key.endpoint if worker is not None else self._orphans.get(instance)
        if endpoint is None or not sees(endpoint):
            return
        self._homes.pop(instance, None)
        self._orphans.pop(instance, None)
        if worker is not None:
            worker.instances.discard(instance)
            if worker.link is not None:
                worker.link.send({"type": messages.DROP, "instance": instance})
