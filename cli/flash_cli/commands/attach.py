"""`flash jobs attach`: come back to jobs, whatever program has submitted them, and whatever became of it."""

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass
from typing import Any

import typer

from flash_cli import console, tickets
from runpod_flash import journal
from runpod_flash.backends.base import Json
from runpod_flash.calls import Ticket
from runpod_flash.errors import ConfigError, FlashError, JobNotFound, RemoteError
from runpod_flash.session import Session

DETACHED = 130
"""Exit status of a command that Ctrl-C has left: 128 and the number of SIGINT."""


@dataclass(frozen=True, slots=True)
class _End:
    """How a job ended: with a value or an error."""

    ticket: Ticket
    job: Json
    value: Any = None
    error: FlashError | None = None

    def document(self) -> dict[str, Any]:
        """What programs read."""
        said = {"id": self.ticket.job_id, "status": self.job.get("status"), "endpoint": self.ticket.name}
        if self.error is not None:
            return {**said, "result": None, "error": str(self.error)}
        return {**said, "result": self.value if _is_json(self.value) else repr(self.value)}


def attach(job_id: str | None, *, last: bool, as_json: bool) -> None:
    """Show what a job has written and writes, wait for it and print its result; Ctrl-C leaves it alone.

    Raises:
        FlashError: the job cannot be found or followed, or it failed.
    """
    if (job_id is None) != last:
        raise typer.BadParameter("name the job by its id or say --last, one of the two")
    session, followed = Session(), list[Ticket]()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the job prints: our stdout is for its result
            end = asyncio.run(_follow(session, job_id, followed))
    except KeyboardInterrupt:
        for ticket in followed:
            session.output.say(
                f"detached from job {ticket.job_id} of endpoint '{ticket.name}', which goes on; come back with "
                f"`flash jobs attach {ticket.job_id}`"
            )
        raise typer.Exit(DETACHED) from None
    finally:
        session.close()
    if as_json:
        console.data(end.document())
    if end.error is not None:
        raise end.error
    if not as_json:
        console.say(end.value if isinstance(end.value, str) else repr(end.value))


async def _follow(session: Session, job_id: str | None, followed: list[Ticket]) -> _End:
    if session.settings.target == "inline":
        raise ConfigError("FLASH_TARGET is 'inline', whose jobs end with their program; set it to where the job is")
    if job_id is None:
        job_id = await _newest(session)
    ticket = await tickets.ticket(session, job_id)
    followed.append(ticket)
    lines = await session.logs(ticket, follow=True)
    session.output.log({"name": ticket.name, "stream": "stdout", "lines": lines})
    job = await session.wait(ticket)
    try:
        return _End(ticket, job, value=await session.value(ticket, job))
    except FlashError as error:
        return _End(ticket, job, error=error)
    except Exception as error:  # noqa: BLE001 - the function's own, which may be of any class
        failed = RemoteError(f"{type(error).__name__}: {error} ({error.__cause__})")
        failed.__cause__ = error
        return _End(ticket, job, error=failed)


async def _newest(session: Session) -> str:
    """The id of the job that was submitted last."""
    noted, settings = await session.noted(), session.settings
    if not noted:
        where = journal.path_of(settings.home)
        raise JobNotFound(
            f"no program has submitted anything to target '{settings.target}' yet, as far as {where} goes"
        )
    newest = noted[-1]
    if newest.job_id:
        return newest.job_id
    arrived = await session.arrived([newest])
    if not arrived:
        raise JobNotFound(
            f"the last submission, {newest.function} on endpoint '{newest.endpoint}' {console.since(newest.time)} ago, "
            "never reached the platform: its program ended or was cut off before; call it again"
        )
    return arrived[0].job_id


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
