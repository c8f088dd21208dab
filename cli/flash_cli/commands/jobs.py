"""`flash jobs list|get|cancel|retry`: what became of jobs, and what shall."""

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from flash_cli import console, finding, tickets
from flash_cli.moments import moment
from flash_cli.platform import connected
from runpod_flash import outcome, settings
from runpod_flash.backends.base import Json
from runpod_flash.errors import ConfigError, FlashError
from runpod_flash.session import Session
from runpod_flash.wording import nearest
from worker_runtime.wire.jobs import JobStatus

_SHOWN = 60  # characters of an error in a table


def show(
    *,
    endpoint: str | None,
    statuses: Sequence[str],
    since: str | None,
    limit: int,
    as_json: bool,
    app: str | None,
    env: str | None,
) -> None:
    """List jobs, the newest first.

    Raises:
        ConfigError: a state or moment cannot be, or several endpoints are meant.
        EndpointNotFound, BackendError: there is no such endpoint, the platform lists no jobs.
    """
    wanted = [_status(each) for each in statuses]
    after = moment("--since", since, time.time()) if since else 0.0
    jobs = asyncio.run(_listed(endpoint, wanted, after, limit, app, env))
    if as_json:
        console.data({"jobs": jobs})
    elif not jobs:
        console.say("no jobs")
    else:
        console.table(("JOB", "ENDPOINT", "STATUS", "SUBMITTED", "RAN", ""), [_row(job) for job in jobs])


def get(job_id: str, *, as_json: bool) -> None:
    """Show all that is known of a job. Raises JobNotFound, BackendError."""
    facts = asyncio.run(_facts(job_id))
    if as_json:
        console.data(facts)
        return
    for name, text in _told(facts):
        console.say(f"{name:<10} {text}")


def cancel(job_ids: Sequence[str]) -> None:
    """Cancel jobs; exit with 1 where one is unknown, or had ended otherwise before. Raises BackendError."""
    _each(job_ids, _cancel)


def retry(job_ids: Sequence[str]) -> None:
    """Queue jobs that failed or timed out once more; exit with 1 where that cannot be. Raises BackendError."""
    _each(job_ids, _retry)


def _each(job_ids: Sequence[str], act: Any) -> None:
    session, failed = Session(), False

    async def main() -> None:
        nonlocal failed
        for job_id in job_ids:
            try:
                console.say(await act(session, job_id))
            except FlashError as error:
                if len(job_ids) == 1:
                    raise
                failed = True
                console.failure(error, trace=False)

    try:
        asyncio.run(main())
    finally:
        session.close()
    if failed:
        raise typer.Exit(1)


async def _cancel(session: Session, job_id: str) -> str:
    _refuse_inline(session)
    ticket = await tickets.ticket(session, job_id)
    before = await session.status(ticket)
    await session.cancel(ticket)
    after = await session.status(ticket)
    if after.get("status") != JobStatus.CANCELLED:
        raise ConfigError(f"job {job_id} had ended already: {after.get('status')}; nothing was cancelled")
    again = "was cancelled before" if outcome.is_final(before) else "is cancelled"
    return f"job {job_id} of endpoint {ticket.name} {again}"


async def _retry(session: Session, job_id: str) -> str:
    _refuse_inline(session)
    ticket = await tickets.ticket(session, job_id)
    queued = await session.retry(ticket)
    return f"job {job_id} of endpoint {ticket.name} is queued once more ({queued.get('status')})"


def _refuse_inline(session: Session) -> None:
    if session.settings.target == "inline":
        raise ConfigError("FLASH_TARGET is 'inline', whose jobs end with their program; set it to where the job is")


async def _listed(
    name: str | None, statuses: Sequence[str], since: float, limit: int, app: str | None, env: str | None
) -> list[Json]:
    chosen = settings.load()
    place = finding.Place.of(chosen, Path.cwd(), app, env)
    async with connected(chosen, Path(place.project)) as backend:
        ids: list[str] = []
        if name is not None:
            ids = [(await finding.endpoint(backend, name, place)).id]
        elif app is not None or env is not None:
            ids = [each.id for each in finding.chosen(await finding.endpoints(backend), place)]
            if not ids:
                return []
        return await backend.look.jobs(ids, statuses=statuses, since=since, limit=limit)


async def _facts(job_id: str) -> Json:
    async with connected() as backend:
        return await backend.facts(job_id)


def _status(text: str) -> str:
    found = text.upper().replace("-", "_").replace(" ", "_")
    if found not in list(JobStatus):
        near = nearest(text, list(JobStatus))
        hint = f"; did you mean {near}?" if near else ""
        raise ConfigError(f"--status is {text!r:.80}; it must be one of {', '.join(JobStatus)}{hint}")
    return found


def _row(job: Json) -> tuple[str, ...]:
    endpoint = job["endpoint"]
    ran = console.duration(job["executionTime"] / 1000) if "executionTime" in job else "-"
    error = _first_line(_reason(job))
    return job["id"], endpoint["name"], job["status"], f"{console.since(_seconds(job['createdAt']))} ago", ran, error


def _told(facts: Json) -> list[tuple[str, str]]:
    """The facts of a job, as names and texts."""
    job, endpoint = facts["job"], facts["endpoint"]
    found = finding.Found.of(endpoint)
    said: list[tuple[str, Any]] = [
        ("job", job["id"]),
        ("endpoint", str(found)),
        ("status", job["status"]),
        ("cause", (facts.get("cause") or {}).get("text")),
        ("submitted", _local(facts.get("createdAt"))),
        ("started", _local(facts.get("startedAt"))),
        ("finished", _local(facts.get("finishedAt"))),
        ("waited", f"{job['delayTime']} ms" if "delayTime" in job else None),
        ("ran", f"{job['executionTime']} ms" if "executionTime" in job else None),
        ("attempts", facts.get("attempts")),
        ("worker", job.get("workerId")),
        ("error", _reason(job)),
        ("output", _output(job)),
    ]
    return [(name, str(text)) for name, text in said if text not in (None, "")]


def _output(job: Json) -> str | None:
    output = job.get("output")
    if output is None:
        return None
    if isinstance(output, Mapping) and "flash" in output:
        if outcome.succeeded(job):
            return f"a value of Python, not shown here: `flash jobs attach {job['id']}` prints it"
        return None
    return json.dumps(output, ensure_ascii=False)


def _reason(job: Json) -> str:
    """Why a job failed: of an exception its type, message and traceback; else as it is told."""
    error = job.get("error")
    try:
        told: dict[str, Any] = json.loads(error) if isinstance(error, str) else {}
        kind = re.sub(r"^<class '(.*)'>$", r"\1", told["error_type"])
        return f"{kind}: {told['error_message']}\n{told.get('error_traceback') or ''}".strip()
    except (ValueError, TypeError, KeyError):
        return str(error or "")


def _first_line(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


def _local(iso: str | None) -> str | None:
    return None if iso is None else datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M:%S")
