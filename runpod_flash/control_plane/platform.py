"""What the HTTP faces need of the platform behind them. Tests bring a small one of their own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from runpod_flash.control_plane.endpoint_logs import Follower
from runpod_flash.control_plane.groups import Saved
from runpod_flash.control_plane.records import Batch, EndpointLine, JobRecord, Submission
from worker_runtime.wire.jobs import JobStatus

Sees = Callable[[str], bool]
"""Whether an endpoint, by its id, exists for the one who asks."""


def everything(endpoint_id: str) -> bool:
    """Sees all endpoints."""
    return True


@dataclass(frozen=True, slots=True)
class Watched:
    """What became of jobs that a client asked to hear of: final already, still waited for, not known here."""

    final: Sequence[JobRecord]
    waiting: Sequence[str]
    unknown: Sequence[str]


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs are listed: of these endpoints (none: of all), with these states (none: any), submitted `since`.

    `since`: seconds since the epoch. `before`: `JobPage.more` of the page before.
    """

    endpoints: tuple[str, ...] = ()
    statuses: frozenset[JobStatus] = frozenset()
    since: float = 0.0
    limit: int = 100
    before: int | None = None


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs, the newest first, without what they take and give. `more`: where the next page begins; None: at its end.

    A page may have fewer jobs than asked for, even none, and not be the last.
    """

    records: Sequence[JobRecord]
    more: int | None


class Accepting(NamedTuple):
    """Jobs that are accepted when they are written: for each, by its key, its record or why it alone was refused."""

    outcomes: Mapping[str, JobRecord | Exception]
    written: Saved


class Platform(Protocol):
    """Jobs and workers. Unknown ids raise EndpointNotFound or JobNotFound.

    Where something is asked for that may be of any endpoint, `sees` says which there are for the one who asks: what
    belongs to others is unknown.
    """

    @property
    def stopping(self) -> bool:
        """Whether it ends, so that nothing is waited for any more."""

    async def submit(self, endpoint_id: str, asked: Submission, /) -> JobRecord:
        """Queue a job; returns when it is stored. Its policy goes before what endpoint and platform say.

        Raises:
            StoreFull: the disk is full; nothing was accepted.
            ContentNotFound: the platform lacks an artifact or value that the input names.
            WireError: the input is none of ours and no worker can take it.
        """

    async def submit_many(self, endpoint_id: str, asked: Batch, /) -> Sequence[JobRecord | Exception]:
        """Queue calls that came together; returns when they are stored. For each its job, or why it was refused.

        Raises what `submit` does, where none was accepted.
        """

    def submit_now(self, endpoint_id: str, asked: Batch, /) -> Accepting | None:
        """The same, where the commit is all that has to be waited for. None: nothing was done, use `submit_many`."""

    def call_off(self, job_ids: Sequence[str], sees: Sees, /) -> Sequence[str]:
        """Cancel jobs, without waiting for that; gives the ids of those that are unknown."""

    def job(self, endpoint_id: str, job_id: str, /) -> JobRecord:
        """The job as it is now."""

    async def wait(self, job_id: str, timeout_s: float, /) -> JobRecord:
        """The job when it is final, or as it is after `timeout_s` seconds or when the platform stops."""

    def watch(self, client: str, job_ids: Sequence[str], sees: Sees, /) -> Watched:
        """How the jobs stand; from now on the event stream `client` hears of those that are not final."""

    def submitted(self, keys: Sequence[str], sees: Sees, /) -> Mapping[str, JobRecord]:
        """The jobs, of any endpoint, that were made with these idempotency keys, by key; other keys are absent."""

    def facts(self, job_id: str, sees: Sees, /) -> Mapping[str, Any]:
        """All that is known of a job, as JSON: `job` (its object), `endpoint` (`id`, `name`, `project`), `attempts`
        and `cause` (an object that says what it waits for or why it ended so) or None. Raises JobNotFound."""

    async def cancel(self, endpoint_id: str, job_id: str, /) -> JobRecord:
        """Cancel the job unless it is final; returns it as it is then."""

    async def retry(self, endpoint_id: str, job_id: str, /) -> JobRecord:
        """Queue a job that has failed or timed out once more. Raises Problem (400) where it has not."""

    async def purge(self, endpoint_id: str, /) -> int:
        """Cancel the jobs that wait for a worker; returns how many."""

    async def stream(self, endpoint_id: str, job_id: str, hold_s: float, /) -> tuple[JobRecord, list[Any], bool]:
        """The job, what it has yielded since the last time, and whether there is more already.

        Waits at most `hold_s` seconds for something to happen where nothing has.
        """

    async def items(
        self, job_id: str, after: int, hold_s: float, sees: Sees, /
    ) -> tuple[JobRecord, Sequence[tuple[int, Any]], bool]:
        """The job, the numbered pieces of its stream after the one of this number, and whether there are more already.

        Those up to that number have arrived, and are gone. Waits as `stream` does.
        """

    def requests(self, endpoint_id: str, limit: int, /) -> Sequence[JobRecord]:
        """The endpoint's last jobs, the newest first."""

    def queued(self, endpoint_id: str, /) -> int:
        """How many of the endpoint's jobs wait."""

    def health(self, endpoint_id: str, /) -> Mapping[str, Mapping[str, int]]:
        """Counters under `jobs` and `workers`; those left out are 0."""

    def workers(self, endpoint_id: str, /) -> Sequence[Mapping[str, Any]]:
        """The endpoint's workers as published: `id`, `status`, `isStale`, `gpuCount` and what else is known of each."""

    async def drop_instance(self, instance_id: str, sees: Sees, /) -> None:
        """Close and forget the object of a remote class. Unknown ones are none."""

    def logs(self, job_id: str, sees: Sees, /) -> Sequence[Mapping[str, Any]]:
        """What the job wrote, as far as it is remembered: at least `stream` and `line` of each. Raises JobNotFound."""

    def lines(self, endpoint_id: str, /) -> Sequence[EndpointLine]:
        """What the endpoint's workers wrote, as far as it is remembered, the oldest first."""

    def follow(self, endpoint_id: str, job_id: str | None = None, /) -> Follower:
        """What the endpoint's workers write from then on; of one job, until that has ended."""

    def list_jobs(self, query: JobQuery, sees: Sees, /) -> JobPage:
        """Jobs, the newest first."""

    def overview(self, sees: Sees, /) -> Mapping[str, Any]:
        """All that `flash status` shows, as JSON; `disk` is the machine's."""

    async def delete_endpoint_jobs(self, endpoint_id: str, /) -> None:
        """Cancel and forget the jobs of an endpoint that is deleted."""
