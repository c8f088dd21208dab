"""What the server knows: frozen records that the store keeps and the loops replace as a whole."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NotRequired, TypedDict

from worker_runtime.wire.jobs import Call, JobStatus, Payload, value_output

_OUR_IMAGES: Final = re.compile(r"runpod/flash(-lb)?(-cpu)?(:[\w.-]+)?")


def is_ours(image: str) -> bool:
    """Whether an image stands for what our SDK ships, which runs here without any; "" does, too."""
    return not image or _OUR_IMAGES.fullmatch(image) is not None


@dataclass(frozen=True)  # without slots, so that what its body says is looked up once
class EndpointRecord:
    """An endpoint as agreed. `body` is the published `/v2/serverless` object as asked for, with defaults filled in."""

    id: str
    project: str  # scope of the name; "" where names are global
    name: str
    body: Mapping[str, Any]
    config_hash: str
    generation: int  # grows with each change that needs new workers
    created_at: float  # seconds since the epoch
    owner: str = ""  # the user whose it is; "" is whoever runs the control plane

    @cached_property
    def is_load_balanced(self) -> bool:
        """Whether its workers answer HTTP requests, instead of taking jobs."""
        return bool(self.body.get("type") == "LOAD_BALANCER")

    @property
    def command(self) -> str | None:
        """The shell command that its workers run, if they do."""
        return self.body.get("command")

    @cached_property
    def artifact(self) -> str | None:
        """The id of the artifact that its workers serve or run; None where calls bring theirs, or for a command."""
        return self.body.get("artifact")

    @property
    def has_own_calls(self) -> bool:
        """Whether its jobs are calls of its own artifact, and of no other."""
        return self.artifact is not None and not self.is_load_balanced

    @property
    def image(self) -> str | None:
        """The container image that its workers run, if they do; a command goes before it."""
        image = str(self.body.get("image") or "")
        return None if self.command is not None or is_ours(image) else image

    @cached_property
    def runs_command(self) -> bool:
        """Whether its workers run a command or an image, and not what our SDK ships."""
        return self.command is not None or self.image is not None


class LogLine(TypedDict):
    """A line that a job wrote: in which attempt, to which stream (stdout or stderr), when and in which worker.

    `time` is seconds since the epoch and grows from line to line. Lines from before there was one have none.
    """

    attempt: int
    stream: str
    line: str
    time: NotRequired[float]
    worker: NotRequired[str]


class EndpointLine(LogLine):
    """A line of an endpoint's worker. `job`: whose it is, None where that cannot be told; then `attempt` is 0.

    What is said of the worker itself, and not by it, is in the stream `platform`.
    """

    job: str | None


@dataclass(frozen=True, slots=True)
class Policy:
    """What a submit asks for its job. None: the platform's own choice; 0: no limit.

    `sync`: it came by `runsync`, whose results the published API keeps for a shorter time. `low_priority`: it waits for
    a worker that others need. `webhook`: the URL that is told its end. `s3_config`: what the worker alone shall know.
    """

    timeout_ms: int | None = None
    queue_timeout_ms: int | None = None
    ttl_ms: int | None = None
    sync: bool = False
    low_priority: bool = False
    webhook: str | None = None
    s3_config: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Submission:
    """What somebody wants to be run. `client` is the event stream that hears of it.

    The same `key` at the same endpoint is the same job, however often it is sent.
    """

    job_id: str
    input: "Mapping[str, Any] | Call" = field(repr=False)
    policy: Policy = Policy()
    client: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Calls of one endpoint that came together and have all in common but their keys and arguments.

    `jobs` are those; `call` has no arguments. `fresh`: none of the keys was sent before. Else as `Submission`.
    """

    call: Call
    jobs: Sequence[tuple[str, Payload]] = field(repr=False)
    policy: Policy = Policy()
    client: str | None = None
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class PlainOutput:
    """The result of a plain call: JSON as the worker has written it, which nobody writes anew on its way."""

    text: str

    @property
    def value(self) -> Any:
        """What it says."""
        return json.loads(self.text)


@dataclass(frozen=True)  # without slots, so that `changed` is one copy of a dictionary
class JobRecord:
    """A job. Times are seconds since the epoch.

    `input` is a call of ours, or the JSON that came in for a command; `output` the payload that a call gave, or the
    JSON that goes out, as a value or as the text of a plain call's worker.
    Payloads stay bytes until somebody asks for JSON: `input_json`, `output_json`.
    """

    id: str
    endpoint: str
    input: "Mapping[str, Any] | Call" = field(repr=False)
    created_at: float
    status: JobStatus = JobStatus.IN_QUEUE
    attempts: int = 0  # starts so far; the number of the running attempt
    retries: int = 0  # starts after the first that a lost worker or an allowed retry caused
    started_at: float | None = None
    finished_at: float | None = None
    output: Any = field(default=None, repr=False)
    error: str | None = None
    worker: str | None = None
    idempotency_key: str | None = None
    client: str | None = None  # the event stream that hears of it
    timeout_ms: int = 0  # how long an attempt may run; 0: as long as it likes
    queue_timeout_ms: int = 0  # how long it may wait for a worker, each time that it is queued; 0: as long as it lives
    ttl_ms: int = 0  # how long it may live, waiting and running, from its submission; 0: for ever
    low_priority: bool = False  # no worker is started for it
    webhook: str | None = field(default=None, repr=False)  # the URL that is told its end
    sealed: str | None = field(default=None, repr=False)  # what the worker alone may read, encrypted
    retry_at: float | None = None  # when a retry may be queued that has to wait; None: at once
    keep_s: float = 24 * 3600.0  # how long it is kept after its end
    read: bool = False  # a reader has got items of its stream, so that no other attempt can follow

    @property
    def input_json(self) -> Mapping[str, Any]:
        """The input as the published API has it."""
        return self.input.to_input() if isinstance(self.input, Call) else self.input

    @property
    def output_json(self) -> Any:
        """The output as the published API has it; None where there is none."""
        output = self.output
        if isinstance(output, PlainOutput):
            return output.value
        return value_output(output) if isinstance(output, Payload) else output

    def changed(self, **changes: Any) -> "JobRecord":
        """The job with other values of some fields: `dataclasses.replace`, at a quarter of its cost."""
        new = object.__new__(JobRecord)
        new.__dict__.update(self.__dict__, **changes)
        return new
