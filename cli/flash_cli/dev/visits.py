"""The requests that are under way, and what each of them waited for."""

import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from runpod_flash.output import stage_text

_REMEMBERED: Final = 1000  # jobs whose end has not been told yet


GONE: Final = 499
"""The status that is noted where a client has left before its answer."""


@dataclass(frozen=True, slots=True)
class Passed:
    """An answer that went to the client: its status, who gave it, and what it said where that was kept."""

    status: int
    worker: str = ""
    body: bytes | None = None


@dataclass(slots=True)
class Visit:
    """A request. Times are monotonic seconds.

    Attributes:
        waits: what it waited for, in words, in order; each is said once.
        edit_s: how long an edit was taken up before it went on.
    """

    endpoint: str
    method: str
    path: str
    began: float
    waits: dict[str, str] = field(default_factory=dict)
    edit_s: float = 0.0

    def hears(self, event: Mapping[str, Any]) -> None:
        """The endpoint's work is in another stage."""
        stage = str(event.get("stage", ""))
        cause = str(event.get("cause") or "")
        if stage == "queued":
            self.waits[stage] = cause.rpartition(" waiting; ")[2] or stage_text(stage)
        elif stage != "running":
            self.waits[stage] = stage_text(stage, str(event.get("detail") or ""), cause)


@dataclass(frozen=True, slots=True)
class Ended:
    """What is said of a request, or of a job that was submitted before. Times are milliseconds, None where unknown."""

    kind: str  # "request" or "job"
    endpoint: str
    method: str
    path: str
    status: int
    total_ms: int
    waits: tuple[str, ...] = ()
    edit_ms: int = 0
    job: str = ""
    job_status: str = ""
    worker: str = ""
    queue_ms: int | None = None
    run_ms: int | None = None
    problem: str = ""

    @property
    def good(self) -> bool:
        return self.status < 400 and self.job_status not in ("FAILED", "TIMED_OUT", "CANCELLED") and not self.problem


Tell = Callable[[Ended], None]


class Visits:
    """All requests under way. `tell` is given what is to be said, when a request or a job has ended."""

    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._open: dict[int, Visit] = {}
        self._jobs: dict[str, Visit] = {}  # submitted with /run: their ends are told later
        self._numbers = itertools.count()

    def begin(self, endpoint: str, method: str, path: str) -> tuple[int, Visit]:
        """A request has come; its number is what `end` needs."""
        visit = Visit(endpoint, method, path, self._clock())
        number = next(self._numbers)
        self._open[number] = visit
        return number, visit

    def end(self, number: int, passed: Passed, *, problem: str = "", is_job: bool = False) -> None:
        """It has been answered. `is_job`: what was answered is a job, or a refusal."""
        visit = self._open.pop(number)
        found = _object(passed.body) if is_job else {}
        ended = self._ended("request", visit, passed.status, found, worker=passed.worker, problem=problem)
        if found.get("status") in ("IN_QUEUE", "IN_PROGRESS") and visit.path.rpartition("/")[2] in ("run", "runsync"):
            self._jobs[str(found.get("id"))] = visit
            while len(self._jobs) > _REMEMBERED:
                self._jobs.pop(next(iter(self._jobs)))
        self._tell(ended)

    def hear(self, event: Mapping[str, Any]) -> None:
        """An event of the target's stream."""
        if event.get("event") == "stage":
            name = event.get("name")
            for visit in (*self._open.values(), *self._jobs.values()):
                if visit.endpoint == name:
                    visit.hears(event)
        elif event.get("event") == "job" and isinstance(event.get("job"), Mapping):
            job = event["job"]
            submitted = self._jobs.pop(str(job.get("id")), None)
            if submitted is not None:
                self._tell(self._ended("job", submitted, 200, job))

    def _ended(
        self, kind: str, visit: Visit, status: int, job: Mapping[str, Any], *, worker: str = "", problem: str = ""
    ) -> Ended:
        return Ended(
            kind,
            visit.endpoint,
            visit.method,
            visit.path,
            status,
            round((self._clock() - visit.began) * 1000),
            tuple(visit.waits.values()),
            round(visit.edit_s * 1000),
            job=str(job.get("id") or ""),
            job_status=str(job.get("status") or ""),
            worker=str(job.get("workerId") or worker),
            queue_ms=_number(job.get("delayTime")),
            run_ms=_number(job.get("executionTime")),
            problem=problem or _problem(job),
        )


def _object(body: bytes | None) -> Mapping[str, Any]:
    try:
        found = json.loads(body) if body else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _problem(answer: Mapping[str, Any]) -> str:
    """What went wrong, in a line: of a failed job, or of a refusal."""
    error = answer.get("error")
    if error is None:
        return str(answer.get("detail") or "") if "title" in answer else ""
    try:
        inner = json.loads(error) if isinstance(error, str) else error
    except ValueError:
        inner = error
    if isinstance(inner, Mapping):
        kind = str(inner.get("error_type", "")).strip("<>").removeprefix("class ").strip("'")
        error = f"{kind.rpartition('.')[2]}: {inner.get('error_message', '')}"
    return " ".join(str(error).split())
