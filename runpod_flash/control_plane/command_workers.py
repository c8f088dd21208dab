"""Ties the parts together that workers of commands need, on top of those that all workers have."""

from collections.abc import Callable, Mapping
from typing import Any

from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.balanced_workers import BalancedWorkers
from runpod_flash.control_plane.chunks import Chunks
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.fleet import Job, Worker
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.supervisor import Supervisor
from runpod_flash.control_plane.takes import TakeDesk
from runpod_flash.control_plane.worker_answers import WorkerAnswers


class CommandWorkers:
    """The desk where they get jobs and the place where they answer.

    Attributes:
        desk: hands jobs out.
        answers: takes what they say.
        balanced: those that answer HTTP requests instead.
        find: the worker of an id, if it lives.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        supervisor: Supervisor,
        chunks: Chunks,
        announcer: Announcer,
        limits: Limits,
        cancel_grace_s: float,
        unseal: Callable[[str], Mapping[str, Any]],
        balanced: BalancedWorkers,
    ) -> None:
        self.balanced = balanced
        self._chunks = chunks
        self.desk = TakeDesk(dispatcher, limits, cancel_grace_s)
        self.answers = WorkerAnswers(dispatcher, chunks, announcer, limits)
        self.find = supervisor.worker
        dispatcher.take_through(self.desk)
        dispatcher.on_again = self._again
        self.desk.unseal = unseal
        self.desk.end_worker, self.desk.look_at = supervisor.end_now, supervisor.look_at
        self.answers.retire, self.answers.look_at = supervisor.retire, supervisor.look_at
        supervisor.on_connected, supervisor.on_leaving, supervisor.on_gone = self._connected, self._leaving, self._gone

    def _connected(self, worker: Worker) -> None:
        if worker.port:
            self.balanced.connected(worker)

    def _leaving(self, worker: Worker) -> None:
        if worker.port:
            self.balanced.leaving(worker)
        else:
            self.desk.let_go(worker)

    def _gone(self, worker: Worker) -> None:
        if worker.port:
            self.balanced.leaving(worker)
        elif worker.pool.code is None:
            self.desk.forget(worker)

    def _again(self, job: Job) -> None:
        if job.call is None:
            self._chunks.clear(job.record.id)
