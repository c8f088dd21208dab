"""Job records as rows of the journal and of `jobs`, and back. Payloads stay bytes; all else that varies is columns.

A text that begins with `=` is JSON of ours (a call, a payload that is kept elsewhere); any other one is the JSON that
somebody gave.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, Final

from runpod_flash.control_plane.database import text
from runpod_flash.control_plane.records import JobRecord, PlainOutput
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.jobs import Call, JobStatus, Payload

STATE: Final = ("status", "attempts", "retries", "started_at", "finished_at", "worker", "more", "result")
"""Columns of what changes."""

FIXED: Final = ("id", "endpoint", "created_at", "client", "idempotency_key", "facts", "input", "arguments")
"""Columns of what is said once."""

BRIEF: Final = tuple(name for name in (*STATE, *FIXED) if name not in ("result", "input", "arguments"))
"""Columns of what a list shows."""

_FACTS: Final = ("timeout_ms", "queue_timeout_ms", "ttl_ms", "low_priority", "webhook", "sealed", "keep_s")
_MORE: Final = ("error", "retry_at", "read")
_VARYING: Final = frozenset((*STATE, *_MORE))
_KNOWN: Final = frozenset(each.name for each in fields(JobRecord))
_JSON: Final = frozenset(("more", "facts", "input", "arguments", "result"))

_INPUT: Final = FIXED.index("input")
_ARGUMENTS: Final = FIXED.index("arguments")
_RESULT: Final = STATE.index("result")

Row = tuple[Any, ...]


def state_row(record: JobRecord, first_client: str | None) -> Row:
    """What has changed, as `STATE`. `first_client`: the one that its `FIXED` row says or will say."""
    more: str | None = None
    if record.error is not None or record.retry_at is not None or record.read or record.client != first_client:
        said = {name: getattr(record, name) for name in _MORE}
        if record.client != first_client:
            said["client"] = record.client
        more = json.dumps(said)
    return (
        record.status.text,
        record.attempts,
        record.retries,
        record.started_at,
        ended_at(record),
        record.worker,
        more,
        None if record.output is None else _result(record.output),
    )


def fixed_row(record: JobRecord) -> Row:
    """What is said once, as `FIXED`."""
    given, arguments = record.input, None
    if isinstance(given, Call):
        said, arguments = _head(given), given.arguments.inline
    else:
        said = json.dumps(dict(given))
    return (
        record.id,
        record.endpoint,
        record.created_at,
        None if record.client is None else text(record.client),
        None if record.idempotency_key is None else text(record.idempotency_key),
        _facts(*[getattr(record, name) for name in _FACTS]),
        said,
        arguments,
    )


def ended_at(record: JobRecord) -> float | None:
    """When it ended, in seconds since the epoch; None as long as it has not."""
    return (record.finished_at or record.created_at) if record.status.final else None


def record_of(values: Mapping[str, Any]) -> JobRecord:
    """The record of these columns, by their names. What they do not have, an earlier release has put into `facts`.

    Of a list, without what the job takes and gives.
    """
    outdated = () if values["attempts"] is None else _VARYING
    facts = json.loads(values["facts"])
    known = {name: value for name, value in facts.items() if name in _KNOWN and name not in outdated}
    known.update({name: value for name, value in values.items() if value is not None and name not in _JSON})
    if values["more"] is not None:
        known.update(json.loads(values["more"]))
    known["status"] = JobStatus(known["status"])
    said = values.get("input")
    known["input"] = {} if said is None else _input(said, values["arguments"])
    result = values.get("result")
    known["output"] = None if result is None else _output(result)
    return JobRecord(**known)


def named(columns: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    """A row with the names of its columns."""
    return dict(zip(columns, row, strict=True))


def weight(fixed: Row, state: Row) -> int:
    """How many bytes a job takes and gives, whose rows these are."""
    return len(fixed[_INPUT]) + len(fixed[_ARGUMENTS] or b"") + len(state[_RESULT] or b"")


def _result(output: Any) -> Any:
    if isinstance(output, PlainOutput):
        return output.text
    if not isinstance(output, Payload):
        return json.dumps(output)
    return output.inline if output.inline is not None else f"={json.dumps(output.to_json())}"


def _output(result: Any) -> Any:
    if not isinstance(result, str):
        return Payload.inlined(result)
    return Payload.from_json(json.loads(result[1:])) if result.startswith("=") else json.loads(result)


def _input(said: str, arguments: bytes | None) -> Mapping[str, Any] | Call:
    if not said.startswith("="):
        given: Mapping[str, Any] = json.loads(said)
        return given
    head: dict[str, Any] = json.loads(said[1:])
    payload = Payload.inlined(arguments) if arguments is not None else Payload.from_json(head["arguments"])
    constructor = head.get("constructor")
    try:
        return Call.of_head(head, payload, None if constructor is None else Payload.from_json(constructor))
    except WireError:  # of another protocol: whoever wants to run it says so
        if constructor is not None:
            head["instance"] = {"id": head["instance"], "constructor": constructor}
        return {"flash": {**head, "arguments": payload.to_json()}}


def _head(call: Call) -> str:
    """The JSON of a call without arguments that are bytes: most calls differ in these alone."""
    rare = (call.instance, call.backoff, call.artifact_data, call.shape)
    if rare != (None, None, None, None) or call.arguments.inline is None:
        head = call.head()
        if call.arguments.inline is None:
            head["arguments"] = call.arguments.to_json()
        if call.instance is not None:
            head["constructor"] = call.instance.constructor.to_json()
        return f"={json.dumps(head)}"
    return _usual_head(call.artifact, call.method, call.retries, call.inline, call.stream, call.plain, call.check)


@lru_cache(maxsize=1024)
def _usual_head(
    artifact: str, method: str | None, retries: int | None, inline: bool, stream: bool, plain: bool, check: bool
) -> str:
    nothing = Payload.inlined(b"")
    call = Call(artifact, nothing, method, None, retries, inline=inline, stream=stream, plain=plain, check=check)
    return f"={json.dumps(call.head())}"


@lru_cache(maxsize=1024)
def _facts(*values: Any) -> str:
    """Most jobs of an endpoint have the same ones."""
    return json.dumps(dict(zip(_FACTS, values, strict=True)))
