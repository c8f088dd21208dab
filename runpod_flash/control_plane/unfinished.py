"""The jobs that are not final: by id, and by endpoint, so that nobody goes through those of others."""

from collections.abc import Collection, Iterator

from runpod_flash.control_plane.fleet import Job


class Unfinished:
    """All of them, in the order in which they came."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._of: dict[str, dict[str, Job]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def add(self, job: Job) -> None:
        """A job has come."""
        record = job.record
        self._jobs[record.id] = job
        self._of.setdefault(record.endpoint, {})[record.id] = job

    def remove(self, job: Job) -> None:
        """It is final."""
        record = job.record
        if self._jobs.pop(record.id, None) is None:
            return
        left = self._of[record.endpoint]
        del left[record.id]
        if not left:
            del self._of[record.endpoint]

    def get(self, job_id: str) -> Job | None:
        """The job of this id."""
        return self._jobs.get(job_id)

    def of(self, endpoint: str) -> Collection[Job]:
        """Those of an endpoint."""
        return self._of.get(endpoint, {}).values()
