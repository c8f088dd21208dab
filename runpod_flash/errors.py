"""Every public error.

FlashError
├─ ConfigError (ValueError)           you wrote a wrong option
│  └─ UnknownOption (TypeError)       a keyword that does not exist; the nearest one is offered
├─ CallError (TypeError)              the arguments do not fit the signature; nothing was sent
├─ ShippingError                      code or data cannot travel
│  ├─ NotPicklable                    names the argument, the global or the result
│  ├─ NotPortable                     only a pickle could carry it, and none may: other Python versions, or no right to
│  └─ PayloadTooLarge
├─ BackendError                       the platform failed
│  ├─ BackendUnavailable              it cannot be reached or started
│  ├─ AuthError                       it refuses the key
│  ├─ EndpointNotFound · JobNotFound
│  ├─ AppNotFound · StageNotFound · NameTaken
│  ├─ StageBusy · StageMoved          another deploy of the stage is under way, or came first
│  ├─ VolumeNotFound · VolumeFileNotFound (FileNotFoundError)
│  ├─ ResponseError                   a load-balanced endpoint answered with a status that is not 2xx; has status, body
│  ├─ ContentNotFound                 it no longer holds an artifact or value that a call names
│  └─ WireMismatch                    the two sides are of different versions
├─ JobError                           the job ended, not well; has job_id, attempts, logs
│  ├─ RemoteError                     your function raised; the original exception is raised where it can be loaded
│  ├─ InstallError                    the dependencies could not be installed
│  ├─ WorkerLost                      the worker died, or could not start
│  │  └─ OutOfMemory                  it was killed because memory ran out: of its cpu= size, or of the machine
│  ├─ JobCancelled
│  ├─ JobTimedOut (TimeoutError)      execution_timeout_ms, or the call's timeout, ran out
│  └─ JobExpired (TimeoutError)       no worker took it within its queue_timeout, or its ttl ended before it did
└─ WaitTimedOut (TimeoutError)        you stopped waiting; a job lives on, an HTTP request is dropped

Three questions, three branches: did I write it wrong, did the platform fail, did my function fail?
"""

from collections.abc import Mapping, Sequence
from typing import Any


class FlashError(Exception):
    """Root of all errors of this package."""


class ConfigError(FlashError, ValueError):
    """An option is wrong. The message names it, what was given and what is allowed."""


class UnknownOption(ConfigError, TypeError):
    """A keyword that no endpoint has. The message offers the nearest one."""


class CallError(FlashError, TypeError):
    """The arguments do not fit the signature of the function. Nothing was sent."""


class ShippingError(FlashError):
    """Code or data cannot travel to the worker or back."""


class NotPicklable(ShippingError, TypeError):
    """An argument, a captured global or a result cannot be pickled. The message names it."""


class NotPortable(ShippingError, TypeError):
    """Code or a value that only a pickle could carry, where none may be sent: to another Python version, or at all.

    The message names the part, and both versions or who takes no pickles.
    """


class PayloadTooLarge(ShippingError):
    """Code or data is larger than the platform takes. The message names the size and the limit."""


class BackendError(FlashError):
    """The platform failed or refused a request."""


class BackendUnavailable(BackendError):
    """The platform cannot be reached or started."""


class AuthError(BackendError):
    """The platform refuses the key."""


class EndpointNotFound(BackendError):
    """The platform has no such endpoint."""


class JobNotFound(BackendError):
    """The platform has no such job (any more)."""


class AppNotFound(BackendError):
    """The platform has no such app. The message has the nearest one."""


class StageNotFound(BackendError):
    """The app has no such stage. The message has the nearest one."""


class NameTaken(BackendError):
    """There is something of this name already."""


class StageBusy(BackendError):
    """Another deploy of this stage is under way. The message says since when; nothing was changed."""


class StageMoved(BackendError):
    """Another deploy of this stage came first, so that the plan is no longer right. Nothing was changed."""


class VolumeNotFound(BackendError):
    """The platform has no such network volume."""


class VolumeFileNotFound(BackendError, FileNotFoundError):
    """The network volume has no such file or folder."""


class ResponseError(BackendError):
    """A load-balanced endpoint answered a request with a status that is not 2xx. The message begins with its words.

    Attributes:
        status: the HTTP status.
        body: what came with it, as a good answer would be given: parsed JSON, text or bytes; None where it is empty.
        headers: the headers of the answer, with names in lower case.
    """

    def __init__(
        self, message: str, *, status: int, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status: int = status
        self.body: Any = body
        self.headers: dict[str, str] = dict(headers or {})


class ContentNotFound(BackendError):
    """The platform does not hold an artifact or value that a call names; the client uploads it again."""


class WireMismatch(BackendError):
    """Client and platform speak different protocol versions."""


class JobError(FlashError):
    """The job ended, not well.

    Attributes:
        job_id: the job's id.
        attempts: how many times it was started.
        logs: the last lines that it wrote.
    """

    def __init__(self, message: str, *, job_id: str = "", attempts: int = 0, logs: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.attempts = attempts
        self.logs: tuple[str, ...] = tuple(logs)


class RemoteError(JobError):
    """The function raised on the worker.

    Raised itself where the original exception cannot be loaded here or is no `Exception` that may pass a caller
    (SystemExit, KeyboardInterrupt, StopIteration …); otherwise it is the `__cause__` of the original exception.

    Attributes:
        type_name: qualified name of the original exception.
        remote_traceback: the traceback on the worker, as text.
    """

    def __init__(
        self,
        message: str,
        *,
        type_name: str = "",
        remote_traceback: str = "",
        job_id: str = "",
        attempts: int = 0,
        logs: Sequence[str] = (),
    ) -> None:
        super().__init__(message, job_id=job_id, attempts=attempts, logs=logs)
        self.type_name = type_name
        self.remote_traceback = remote_traceback


class InstallError(JobError):
    """The dependencies could not be installed. The message ends with the installer's own words."""


class WorkerLost(JobError):
    """The worker died (killed, crashed interpreter), fell silent, or could not start."""


class OutOfMemory(WorkerLost):
    """The worker was killed because memory ran out: that of its `cpu=` size, or of the machine. The message says it."""


class JobCancelled(JobError):
    """The job was cancelled."""


class JobTimedOut(JobError, TimeoutError):
    """An attempt ran longer than `execution_timeout_ms`, or the call's own `timeout`, and was stopped."""


class JobExpired(JobError, TimeoutError):
    """The job is too old: no worker took it within its `queue_timeout`, or its ttl ended before it did."""


class WaitTimedOut(FlashError, TimeoutError):
    """The caller stopped waiting. A job lives on; an HTTP request to a load-balanced endpoint is dropped."""
