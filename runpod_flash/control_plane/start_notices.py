"""What the clients of a pool are told of how its workers are started."""

from collections.abc import Mapping

from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.fleet import Fleet, Worker
from worker_runtime.wire.specs import WorkerLaunch


class StartNotices:
    """Tells them, each thing once. A worker that has ended meanwhile has nobody to tell."""

    def __init__(self, fleet: Fleet, announcer: Announcer) -> None:
        self._fleet = fleet
        self._announcer = announcer

    def not_forked(self, launch: WorkerLaunch, text: str) -> None:
        """Workers like this one are started in another way than others."""
        worker = self._worker(launch)
        if worker is not None:
            self._announcer.notice(worker.pool, f"start {launch.endpoint}", f"{launch.name}: {text}")

    def not_imported(self, launch: WorkerLaunch, failed: Mapping[str, str]) -> None:
        """Modules that cannot be imported ahead, each with the error. Those that the endpoint names itself are told."""
        worker = self._worker(launch)
        code = None if worker is None else worker.pool.code
        if worker is None or code is None:
            return
        for name in code.environment.preload:
            if name in failed:
                text = f"preload={name!r} cannot be imported ahead ({failed[name]}); calls run without that"
                self._announcer.notice(worker.pool, f"preload {launch.endpoint} {name}", f"{launch.name}: {text}")

    def _worker(self, launch: WorkerLaunch) -> Worker | None:
        return next((worker for worker in self._fleet.workers() if worker.id == launch.worker), None)
