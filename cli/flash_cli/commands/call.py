"""`flash call`: one job, or one HTTP request, for an endpoint that is there."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import typer

from flash_cli import console, finding, given
from flash_cli.finding import Found
from runpod_flash import settings, web
from runpod_flash.backends.base import Json
from runpod_flash.calls import Ticket
from runpod_flash.errors import CallError, ConfigError, FlashError, RemoteError, ResponseError, WaitTimedOut
from runpod_flash.job_input import SIBLINGS, PlainJob, plain_job
from runpod_flash.sending import CANCEL_S
from runpod_flash.session import Session
from runpod_flash.web import WebAnswer, WebRequest

LEFT = 130
"""Exit status of a command that Ctrl-C has ended: 128 and the number of SIGINT."""

NO_ARGUMENTS = {"__empty": True}
"""The input of a call without arguments: the published API takes no empty one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for, and how its result is shown.

    Attributes:
        value: the input of the job, or the body of the request; None: there is none.
        method: the method of a class to call.
        route: method and path of an HTTP request.
        timeout_s: how long the end is waited for, in seconds; None: as long as it takes.
        detach: submit and say the job's id.
        raw: write a text as it is, not as JSON.
        stream: write each item as it comes.
    """

    value: Any
    method: str | None = None
    route: tuple[str, str] | None = None
    timeout_s: float | None = None
    detach: bool = False
    raw: bool = False
    stream: bool = False


def call(
    name: str,
    rest: Sequence[str],
    *,
    text: str | None,
    file: str | None,
    route: str | None,
    app: str | None,
    env: str | None,
    **how: Any,
) -> None:
    """Call an endpoint: its result goes to stdout, what it writes to stderr. Ctrl-C cancels.

    Args:
        name: the endpoint.
        rest: `-` for an input from standard input, or method and path of an HTTP request.
        text, file: where the input is.
        route: method and path in one text.
        app, env: where the endpoint is.
        how: fields of `Wanted`.

    Raises:
        FlashError: the input is no JSON, the endpoint cannot be found or called, or the call failed.
    """
    stdin = list(rest) == [given.STDIN]
    wanted = Wanted(given.read(text, file, stdin=stdin), route=_route([] if stdin else rest, route), **how)
    chosen = settings.load()
    if chosen.target == "inline":
        raise ConfigError("FLASH_TARGET is 'inline', where there are no endpoints to call; set it to local or to a URL")
    place = finding.Place.of(chosen, Path.cwd(), app, env)
    session, results = Session(chosen, Path(place.project)), sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the job prints: our stdout is for its result
            asyncio.run(_call(session, name, place, wanted, results))
    except KeyboardInterrupt:
        raise typer.Exit(LEFT) from None
    finally:
        session.close()


def _route(rest: Sequence[str], said: str | None) -> tuple[str, str] | None:
    """Method and path, from the arguments or the option. Raises ConfigError."""
    parts = list(rest) or (said.split() if said is not None else [])
    if rest and said is not None:
        raise ConfigError("the route is given by arguments and by --route; give it once")
    if not parts:
        return None
    if len(parts) != 2 or not parts[0].isalpha() or not parts[1].startswith("/"):
        raise ConfigError(
            f"{' '.join(parts)!r:.80} is no route; it must be a method and a path such as 'POST /predict'"
        )
    return parts[0].upper(), parts[1]


async def _call(session: Session, name: str, place: finding.Place, wanted: Wanted, results: TextIO) -> None:
    found = await finding.endpoint(await session.backend(), name, place)
    if found.is_load_balanced:
        await _request(session, found, wanted, results)
    elif wanted.route is not None:
        raise ConfigError(f"endpoint {found} takes jobs and has no routes; leave {' '.join(wanted.route)!r} out")
    else:
        await _job(session, found, wanted, results)


# --- jobs ------------------------------------------------------------------------------------------------------------


async def _job(session: Session, found: Found, wanted: Wanted, results: TextIO) -> None:
    job = plain_job(_body(found, wanted))
    ticket = await _submitted(session, found, job)
    if wanted.detach:
        _write(results, ticket.job_id)
        console.note(f"submitted; see it with `flash jobs attach {ticket.job_id}`")
        return
    try:
        async with asyncio.timeout(wanted.timeout_s):
            if wanted.stream:
                await _stream(session, ticket, wanted, results)
            value = await _value(session, ticket, await session.wait(ticket))
    except TimeoutError as error:
        if isinstance(error, FlashError):
            raise
        raise WaitTimedOut(
            f"job {ticket.job_id} has not ended after {wanted.timeout_s:g} s and goes on; come back with `flash jobs "
            f"attach {ticket.job_id}`, or end it with `flash jobs cancel {ticket.job_id}`"
        ) from None
    except asyncio.CancelledError:
        await _cancel(session, ticket)
        raise
    if not wanted.stream:
        _write(results, _shown(value, wanted))


async def _submitted(session: Session, found: Found, job: PlainJob) -> Ticket:
    """Submit a job. Ctrl-C meanwhile ends it as it does later: whoever looks may see it run already."""
    putting = asyncio.ensure_future(session.put(found.id, found.name, job.input, job.options))
    try:
        return await asyncio.shield(putting)
    except asyncio.CancelledError:
        try:
            async with asyncio.timeout(CANCEL_S):
                ticket = await putting
        except FlashError:
            pass  # it was refused: there is no job
        except TimeoutError:
            console.note("the platform has not said whether it has the job; see `flash jobs list`")
        else:
            await _cancel(session, ticket)
        raise


def _body(found: Found, wanted: Wanted) -> dict[str, Any]:
    """The body of a job. Raises CallError: the input is no object, or there is none."""
    value = wanted.value
    if isinstance(value, Mapping) and isinstance(value.get("input"), Mapping) and set(value) <= set(SIBLINGS):
        body = dict(value)
    else:
        body = {"input": value}
    job_input = body["input"]
    if wanted.method is not None:
        job_input = {"method": wanted.method, **(job_input if isinstance(job_input, Mapping) else {})}
    if not job_input and found.app is not None and job_input in (None, {}):
        job_input = NO_ARGUMENTS
    if not isinstance(job_input, Mapping) or not job_input:
        said = "nothing" if job_input is None else repr(job_input)[:80]
        raise CallError(
            f"the input for endpoint {found} is {said}; it must be a JSON object with at least one entry, such as "
            "--json '{\"data\": 1}'"
        )
    return {**body, "input": job_input}


async def _stream(session: Session, ticket: Ticket, wanted: Wanted, results: TextIO) -> None:
    backend = await session.backend()
    async with contextlib.aclosing(backend.chunks(ticket.endpoint_id, ticket.job_id)) as chunks:
        async for chunk in chunks:
            _write(results, chunk if wanted.raw and isinstance(chunk, str) else json.dumps(chunk, ensure_ascii=False))


async def _value(session: Session, ticket: Ticket, job: Json) -> Any:
    """What the job gave. Its failure is raised, its remote traceback goes to stderr before."""
    try:
        return await session.value(ticket, job)
    except FlashError as error:
        for note in getattr(error, "__notes__", ()):
            console.note(note)
        raise
    except Exception as error:  # the function's own, which may be of any class
        for note in getattr(error, "__notes__", ()):
            console.note(note)
        raise RemoteError(f"{type(error).__name__}: {error} (job {ticket.job_id})") from error


async def _cancel(session: Session, ticket: Ticket) -> None:
    """Ctrl-C has come: the job ends, too, if the platform can be told."""
    try:
        async with asyncio.timeout(CANCEL_S):
            await session.cancel(ticket)
        console.note(f"job {ticket.job_id} is cancelled")
    except (FlashError, TimeoutError) as error:
        console.note(f"job {ticket.job_id} could not be cancelled ({error}); see `flash jobs get {ticket.job_id}`")


def _shown(value: Any, wanted: Wanted) -> str:
    if wanted.raw and isinstance(value, str):
        return value
    try:
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        return repr(value)  # a value of Python, of a job that was no plain one


# --- requests --------------------------------------------------------------------------------------------------------


async def _request(session: Session, found: Found, wanted: Wanted, results: TextIO) -> None:
    if wanted.route is None:
        raise ConfigError(
            f"endpoint {found} answers HTTP requests; say which: flash call {found.name} GET /path, or POST /path with "
            "--json"
        )
    unfit = {"--detach": wanted.detach, "--stream": wanted.stream, "--method": wanted.method is not None}
    if any(unfit.values()):
        names = ", ".join(name for name, there in unfit.items() if there)
        raise ConfigError(f"{names} is for jobs, and endpoint {found} answers HTTP requests; leave it out")
    asked = web.request(*wanted.route, json=wanted.value, timeout=wanted.timeout_s or web.ANSWER_S)
    try:
        async with asyncio.timeout(asked.timeout_s):
            answer = await (await session.backend()).request(found.id, asked)
    except TimeoutError as error:
        if isinstance(error, FlashError):
            raise
        raise WaitTimedOut(f"{asked} has no answer after {asked.timeout_s:g} s; the request was dropped") from None
    if not answer.is_good:
        raise _refusal(asked, found, answer)
    value = answer.value()
    if isinstance(value, bytes):
        results.buffer.write(value)
        results.flush()
    elif value is not None:
        _write(results, value if isinstance(value, str) else _shown(value, wanted))


def _refusal(asked: WebRequest, found: Found, answer: WebAnswer) -> ResponseError:
    said = answer.body.decode(errors="replace").strip()
    message = f"{asked} of endpoint {found.name} was answered with status {answer.status}"
    return ResponseError(
        f"{message}: {said}" if said else message,
        status=answer.status,
        body=answer.value(),
        headers=answer.headers,
    )


def _write(results: TextIO, text: str) -> None:
    results.write(f"{text}\n")
    results.flush()
