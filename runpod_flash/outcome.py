"""What a finished job means to its caller: a value, or the fitting exception with the facts of the job."""

import json
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from runpod_flash import lazy
from runpod_flash.errors import (
    CallError,
    InstallError,
    JobCancelled,
    JobError,
    JobExpired,
    JobTimedOut,
    NotPicklable,
    NotPortable,
    OutOfMemory,
    PayloadTooLarge,
    RemoteError,
    ShippingError,
    WireMismatch,
    WorkerLost,
)
from worker_runtime.wire import encoding, items, neutral
from worker_runtime.wire.class_names import ClassNames, UnknownClass
from worker_runtime.wire.errors import CannotTravel, VersionMismatch, WireError
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind, JobStatus, Payload, Progress, Streamed, read_output
from worker_runtime.wire.pieces import Part

E = TypeVar("E", bound=Exception)

READ_IT = "read it with job.stream(): [item async for item in job.stream()], or list(job.stream()) in blocking code"
"""What to do with a job that is a stream."""

Fetch = Callable[[Payload], Awaitable[Part]]
"""Gets a value from the platform that is not inline."""

ANYWHERE = ClassNames()
"""The names of a program that knows nothing of the code that gave a value: what is loaded, and the standard library."""

_BY_KIND: dict[ErrorKind, type[JobError]] = {
    ErrorKind.INSTALL: InstallError,
    ErrorKind.WORKER_LOST: WorkerLost,
    ErrorKind.OUT_OF_MEMORY: OutOfMemory,
    ErrorKind.CANCELLED: JobCancelled,
    ErrorKind.TIMED_OUT: JobTimedOut,
    ErrorKind.EXPIRED: JobExpired,
    ErrorKind.INFEASIBLE: JobError,
    ErrorKind.PLATFORM: JobError,
}
_BY_STATUS: dict[JobStatus, tuple[type[JobError], str]] = {
    JobStatus.CANCELLED: (JobCancelled, "was cancelled"),
    JobStatus.TIMED_OUT: (JobTimedOut, "ran longer than execution_timeout_ms allows"),
    JobStatus.FAILED: (JobError, "failed"),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What errors say about their job."""

    job_id: str
    name: str
    attempts: int = 0
    worker: str = ""
    logs: Sequence[str] = ()

    @classmethod
    def of(cls, job: Mapping[str, Any], name: str, logs: Sequence[str] = ()) -> "Facts":
        """Read them from a job object of the API."""
        worker = str(job.get("workerId") or "")
        return cls(str(job.get("id", "")), name, int(job.get("retries") or 0) + bool(worker), worker, logs)

    def __str__(self) -> str:
        where = f" on worker {self.worker}" if self.worker else ""
        return (
            f"job {self.job_id} of endpoint '{self.name}'{f', attempt {self.attempts}' if self.attempts else ''}{where}"
        )

    def error(self, kind: type[JobError], message: str, **more: Any) -> JobError:
        """An error of a class with these facts."""
        return kind(message, job_id=self.job_id, attempts=self.attempts, logs=self.logs, **more)


def is_final(job: Mapping[str, Any]) -> bool:
    """Whether the job will not change any more. A status that is not known is not final."""
    status = job.get("status")
    return status in list(JobStatus) and JobStatus(str(status)).final


def succeeded(job: Mapping[str, Any]) -> bool:
    """Whether the job gave a value."""
    return job.get("status") == JobStatus.COMPLETED


def has_value(job: Mapping[str, Any]) -> bool:
    """Whether the job gave a value; one that is a stream has items instead."""
    output = job.get("output")
    body = output.get("flash") if isinstance(output, Mapping) else None
    return succeeded(job) and not (isinstance(body, Mapping) and "items" in body)


def in_memory(job: Mapping[str, Any]) -> Payload | None:
    """The payload of a job's value that lies in shared memory; None: it has none, or it is elsewhere."""
    output = job.get("output")
    body = output.get("flash") if isinstance(output, Mapping) else None
    value = body.get("value") if isinstance(body, Mapping) else None
    try:
        return Payload.from_json(value) if isinstance(value, Mapping) and "range" in value else None
    except WireError:
        return None


def progress_of(job: Mapping[str, Any]) -> Progress | None:
    """How far a job says to be; None where it has ended, or has said nothing."""
    output = job.get("output")
    if is_final(job) or not isinstance(output, Mapping) or not isinstance(output.get("progress"), Mapping):
        return None
    try:
        return Progress.from_json(output["progress"])
    except WireError:  # somebody else's
        return None


async def value_of(job: Mapping[str, Any], name: str, fetch: Fetch, names: ClassNames = ANYWHERE) -> Any:
    """The value that a completed job gave. An output that no function of ours wrote is returned as it is.

    `names`: the classes that values in the neutral encoding may be made of.

    Raises:
        WireMismatch: the worker speaks another protocol or Python version.
        ShippingError: the value cannot be loaded here; the stored result stays.
    """
    facts = Facts.of(job, name)
    output = job.get("output")
    if not isinstance(output, Mapping) or "flash" not in output:
        return output
    try:
        found = read_output(output)
        if isinstance(found, ErrorInfo):
            raise exception_of(found, facts, names)
        if isinstance(found, Streamed):
            raise CallError(f"{facts} is a stream of {found.items} items and has no result; {READ_IT}")
        return decode(await payload_bytes(found, fetch), facts, names)
    except WireError as error:
        raise _misread(error, facts) from error


async def item_of(chunk: Any, facts: Facts, fetch: Fetch, names: ClassNames = ANYWHERE) -> Any:
    """The value that a chunk of a stream stands for. One that no generator of ours made is returned as it is.

    `names`: as for `value_of`.

    Raises:
        WireMismatch, ShippingError: as `value_of`.
    """
    try:
        found = items.read(chunk)
        return chunk if found is None else decode(await payload_bytes(found, fetch), facts, names)
    except VersionMismatch as error:
        raise WireMismatch(f"an item of {facts} cannot be read: {error}") from error
    except WireError as error:
        raise WireMismatch(f"an item of {facts} does not follow the protocol: {error}") from error


async def payload_bytes(found: Payload, fetch: Fetch) -> Part:
    """The bytes of a payload, fetched where they are not inline."""
    return found.inline if found.inline is not None else await fetch(found)


def decode(data: Part, facts: Facts, names: ClassNames = ANYWHERE) -> Any:
    """Load a result; raises VersionMismatch, WireError, ShippingError."""
    try:
        return encoding.decode(data, names)
    except WireError:
        raise
    except Exception as error:
        raise _cannot_load(error, facts) from error


def loaded(data: Part, name: str, told: Sequence[Any], names: Callable[[], ClassNames]) -> Any:
    """The value of a call whose end came in frames; `told` is what they said of it (`wire.calls`).

    Raises:
        WireMismatch, ShippingError: as `value_of`.
    """
    try:
        return encoding.decode(data, names() if neutral.is_neutral(data) else ANYWHERE)
    except Exception as error:
        _, job_id, _, worker, retries = told[:5]
        facts = Facts(str(job_id), name, int(retries) + bool(worker), str(worker or ""))
        if isinstance(error, WireError):
            raise _misread(error, facts) from error
        raise _cannot_load(error, facts) from error


def _cannot_load(error: Exception, facts: Facts) -> ShippingError:
    stays = "The stored result stays and can be fetched again"
    if isinstance(error, UnknownClass):
        return ShippingError(f"the result of {facts} cannot be loaded here: {error}. {stays}")
    why = f"{type(error).__name__}: {error}. {_advice(error)}"
    return ShippingError(f"the result of {facts} cannot be loaded here: {why} {stays}")


def _misread(error: WireError, facts: Facts) -> WireMismatch:
    if isinstance(error, VersionMismatch):
        return WireMismatch(f"the result of {facts} cannot be read: {error}")
    return WireMismatch(f"the result of {facts} does not follow the protocol: {error}")


def failure_of(job: Mapping[str, Any], name: str, logs: Sequence[str] = (), names: ClassNames = ANYWHERE) -> Exception:
    """The exception to raise for a job that ended without a value."""
    facts = Facts.of(job, name, logs)
    output = job.get("output")
    if isinstance(output, Mapping) and "flash" in output:
        try:
            found = read_output(output)
        except WireError as error:
            return WireMismatch(f"the failure of {facts} does not follow the protocol: {error}")
        if isinstance(found, ErrorInfo):
            return exception_of(found, facts, names)
    raised = _raised_by_handler(job.get("error"), facts)
    if raised is not None:
        return raised
    kind, what = _BY_STATUS.get(JobStatus(str(job.get("status"))), (JobError, "ended without a value"))
    said = f": {job['error']}" if job.get("error") else ""
    return facts.error(kind, f"{facts} {what}{said}")


def _raised_by_handler(error: Any, facts: Facts) -> Exception | None:
    """What a handler raised, as Runpod's worker package reports it: JSON as text. None where it is none of that."""
    try:
        told = json.loads(error)
        kind, message = re.sub(r"^<class '(.*)'>$", r"\1", told["error_type"]), told["error_message"]
    except (TypeError, ValueError, KeyError):
        return None
    traceback = str(told.get("error_traceback") or "")
    found = facts.error(RemoteError, f"{kind}: {message} ({facts})", type_name=kind, remote_traceback=traceback)
    if traceback:
        found.add_note(f"Remote traceback:\n{traceback.rstrip()}")
    return found


def exception_of(info: ErrorInfo, facts: Facts, names: ClassNames = ANYWHERE) -> Exception:
    """The exception to raise: the function's own where it can be loaded and may pass a caller, else a typed one."""
    if info.kind in _BY_KIND:
        return _noted(facts.error(_BY_KIND[info.kind], f"{info.message} ({facts})"), info)
    if info.kind is ErrorKind.UNPICKLABLE_RESULT:
        portable = info.type == CannotTravel.__name__
        kind = NotPortable if portable else NotPicklable
        error = kind(f"the result of {facts} {'cannot come back' if portable else 'cannot be pickled'}: {info.message}")
        error.__cause__ = facts.error(JobError, str(facts))
        return _noted(error, info)
    if info.kind is ErrorKind.TOO_LARGE:
        too_large = PayloadTooLarge(f"the result of {facts} cannot come back: {info.message}")
        too_large.__cause__ = facts.error(JobError, str(facts))
        return too_large
    told = {"type_name": info.type, "remote_traceback": info.traceback}
    original = _original(info, names)
    if original is not None:
        original.__cause__ = facts.error(RemoteError, f"raised by {facts}", **told)
        return _noted(original, info)
    what = "could not load its code or arguments: " if info.kind is ErrorKind.LOAD else ""
    message = f"{info.type}: {info.message}" if info.message else info.type
    return _noted(facts.error(RemoteError, f"{what}{message} ({facts})", **told), info)


def _original(info: ErrorInfo, names: ClassNames) -> Exception | None:
    """The function's own exception; none that would end the caller's loop or iteration instead."""
    if info.kind is not ErrorKind.USER or info.exception is None:
        return None
    try:
        found = encoding.decode(info.exception, names)
    except Exception:  # noqa: BLE001 - unpickling runs code of any package; the failure is then told as text
        return None
    if not isinstance(found, Exception) or isinstance(found, StopIteration | StopAsyncIteration):
        return None
    return found


def _noted(error: E, info: ErrorInfo) -> E:
    if info.traceback:
        error.add_note(f"Remote traceback:\n{info.traceback.rstrip()}")
    return error


def _advice(error: Exception) -> str:
    """Which package is missing or of another version here, and what to do."""
    module = error.name if isinstance(error, ImportError) else None
    if module is None:
        match = re.search(r"module '([\w.]+)", str(error))
        module = match.group(1) if match else None
    here = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
    if module is None:
        return (
            f"The worker's packages may be of other versions than here ({here}); install those, or return plain data."
        )
    package = module.partition(".")[0]
    metadata = lazy.load("importlib.metadata")
    names = metadata.packages_distributions().get(package, [])
    if names:
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in dict.fromkeys(names))
        return (
            f"Here is {versions} ({here}), the worker may have another version; install the same, or return plain data."
        )
    return (
        f"Package '{package}' is not installed here ({here}); install the worker's version of it, or return plain data."
    )
