"""How a job comes in where nothing has to be waited for: the usual case, in one go and without a task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.fleet import Job
from runpod_flash.control_plane.groups import Saved
from runpod_flash.control_plane.intake import Intake
from runpod_flash.control_plane.records import EndpointRecord, Submission
from worker_runtime.wire.jobs import INLINE_LIMIT, Call


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that was accepted. Nobody may be told before `written` is over: where it is refused, it never came."""

    job: Job
    written: Saved


class PromptIntake:
    """Accepts single jobs at once, by the rules of `Intake`, and leaves to that what takes longer."""

    def __init__(self, intake: Intake, catalog: Catalog, dispatcher: Dispatcher) -> None:
        self._intake = intake
        self._catalog = catalog
        self._dispatcher = dispatcher

    def begin(self, endpoint_id: str, asked: Submission) -> Begun | None:
        """Accept a job. None: nothing was done, and `Intake.submit` has to. Raises as that does."""
        endpoint = self._catalog.get(endpoint_id)
        intake = self._intake
        if endpoint.is_load_balanced or intake.admit():
            return None
        if asked.key is not None and not intake.is_new(endpoint_id, asked.key):
            return None
        call = None
        if not endpoint.runs_command:
            call = self._call(endpoint, asked.input)
            if call is None:
                return None
        queueing = intake.queueing
        pool = queueing.pool_now(endpoint, None if call is None else call.artifact)
        if pool is None:
            return None
        record = intake.record(
            endpoint, asked.job_id, asked.input if call is None else call, asked.policy, asked.client, asked.key
        )
        (job,), written = queueing.accept([(record, call)], pool)
        return Begun(job, written)

    def _call(self, endpoint: EndpointRecord, given: Mapping[str, Any] | Call) -> Call | None:
        """The call that an input asks for; None where it brings something that must be stored or looked for first."""
        found = self._intake.call_input(endpoint, given)
        call = found if isinstance(found, Call) else Call.from_input(found)
        if call.artifact_data is not None or call.instance is not None or call.arguments.inline is None:
            return None
        if len(call.arguments.inline) > INLINE_LIMIT:
            return None
        if self._dispatcher.pools.manifest(call.artifact).entry is None and not self._intake.takes_pickles(endpoint):
            return None  # it is refused there, with the reason
        return call
