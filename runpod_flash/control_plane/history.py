"""What was before: jobs of all endpoints, the newest first, and what workers wrote."""

import time
from collections.abc import Iterator
from typing import Final

from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.endpoint_logs import EndpointLogs
from runpod_flash.control_plane.platform import JobPage, JobQuery, Sees, everything
from runpod_flash.control_plane.records import EndpointLine, JobRecord, LogLine
from runpod_flash.control_plane.store import Store
from runpod_flash.errors import JobNotFound

LINES: Final = 10_000
"""About how many lines of finished jobs are looked through for those of an endpoint."""

JOBS: Final = 200
"""Of how many finished jobs."""

AT_ONCE: Final = 500
LOOKED_THROUGH: Final = 5_000
"""How many jobs are looked through for one page, so that nobody else waits long."""


class History:
    """Reads, and changes nothing."""

    def __init__(self, store: Store, catalog: Catalog, dispatcher: Dispatcher, logs: EndpointLogs) -> None:
        self._store = store
        self._catalog = catalog
        self._dispatcher = dispatcher
        self._logs = logs

    def of_job(self, job_id: str, sees: Sees = everything) -> list[LogLine]:
        """The last lines that the job wrote, of all its attempts, oldest first; kept as long as the job.

        Raises:
            JobNotFound: it is unknown.
        """
        job = self._dispatcher.unfinished(job_id)
        endpoint = job.record.endpoint if job is not None else self._store.endpoint_of(job_id)
        if endpoint is None or not sees(endpoint):
            raise JobNotFound(f"there is no job {job_id}; results are kept for a limited time")
        return job.logs.lines() if job is not None else self._store.logs(job_id)

    def of_endpoint(self, endpoint_id: str) -> list[EndpointLine]:
        """The last lines of the endpoint's workers, the oldest first: of its jobs, and those of none.

        Raises:
            EndpointNotFound: it is unknown.
        """
        self._catalog.get(endpoint_id)
        found = {_mark(line): line for line in self._logs.of(endpoint_id)}
        for line in self._of_jobs(endpoint_id):  # several jobs may have a line that is of no certain one
            found.setdefault(_mark(line), line)
        return sorted(found.values(), key=lambda line: line.get("time", 0.0))

    def _of_jobs(self, endpoint_id: str) -> Iterator[EndpointLine]:
        unfinished = {job.record.id: job for job in self._dispatcher.jobs_of(endpoint_id)}
        for job_id, job in unfinished.items():
            yield from (_line(job_id, line) for line in job.logs.lines())
        read = 0
        for job_id in self._store.jobs_with_logs(endpoint_id, JOBS):
            if job_id not in unfinished and read < LINES:
                lines = self._store.logs(job_id)
                read += len(lines)
                yield from (_line(job_id, line) for line in lines)

    def jobs(self, query: JobQuery, sees: Sees = everything) -> JobPage:
        """A page of jobs."""
        records, before, now = list[JobRecord](), query.before, time.time()
        for _ in range(LOOKED_THROUGH // AT_ONCE):
            stored = self._store.brief_jobs(query.endpoints, before, AT_ONCE)
            for number, old in stored:
                before = number
                if old.created_at < query.since:
                    return JobPage(records, None)
                job = self._dispatcher.unfinished(old.id)
                record = old if job is None else job.record
                if _is_kept(record, now) and sees(record.endpoint) and _has_status(record, query):
                    records.append(record)
                    if len(records) == query.limit:
                        return JobPage(records, before)
            if len(stored) < AT_ONCE:
                return JobPage(records, None)
        return JobPage(records, before)


def _is_kept(record: JobRecord, now: float) -> bool:
    return record.finished_at is None or record.finished_at + record.keep_s >= now


def _has_status(record: JobRecord, query: JobQuery) -> bool:
    return not query.statuses or record.status in query.statuses


def _line(job_id: str, line: LogLine) -> EndpointLine:
    return EndpointLine(**line, job=job_id)


def _mark(line: EndpointLine) -> object:
    """The same for a line of no certain job wherever it is kept; a line from before there were times is none's."""
    return (line["time"], line.get("worker")) if "time" in line else id(line)
