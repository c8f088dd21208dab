"""What the SDK asks of a platform: a few verbs, the same for every backend.

A backend belongs to the event loop that opened it and closes itself when that loop's tasks are cancelled (the end of
`asyncio.run`). All verbs are coroutines and raise only errors of `runpod_flash.errors`; foreign exceptions are
translated inside the backend.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from runpod_flash.calls import AS_USUAL, JobOptions
from runpod_flash.web import WebAnswer, WebRequest
from worker_runtime.wire.jobs import Payload
from worker_runtime.wire.pieces import Part, Pieces

if TYPE_CHECKING:
    from runpod_flash.backends.clients import Address
    from runpod_flash.backends.conversation import Conversation

Json: TypeAlias = Mapping[str, Any]
"""A JSON object as it came from, or goes to, the platform."""


OnProgress: TypeAlias = Callable[[Json], None]
"""Hears of the progress of a deploy: `event` ("preparing", "changing"), `endpoint` and `text`, which may be empty."""


def quietly(event: Json) -> None:
    """Progress that nobody wants to hear of."""


class AppStore(Protocol):
    """The apps of a platform, their stages and what is deployed to them.

    An app is `name`, `createdAt`, `owner` and `stages`. A stage is `app`, `name`, `version` (0: none yet), `createdAt`,
    `deployedAt`, `expiresAt` (None: it lasts), `label`, `owner` and `endpoints`, each with `id`, `name`, `type`, `url`,
    `artifact` and `generation`. Times are ISO texts.

    Every verb raises BackendError where the platform has no apps, and AuthError where the key is not for that.
    """

    async def all(self, *, ephemeral: bool = False) -> list[Json]:
        """The user's apps, the oldest first. `ephemeral`: stages that expire are shown, too."""
        ...

    async def get(self, app: str) -> Json:
        """The app with all its stages. Raises AppNotFound."""
        ...

    async def create(self, app: str) -> Json:
        """Make an app. Raises NameTaken, ConfigError: it cannot be called so."""
        ...

    async def delete(self, app: str) -> None:
        """Remove an app with its stages, their endpoints and jobs. Raises AppNotFound, StageBusy."""

    async def create_stage(self, app: str, stage: str, *, expires_in: int | None = None, label: str = "") -> Json:
        """Make a stage, and its app where there is none.

        `expires_in`: seconds that it lives after each renewal; then it scales to zero, and after a while it is removed.
        Its app goes with it if that was made for such stages. `label`: for people. Raises NameTaken, ConfigError.
        """
        ...

    async def stage(self, app: str, stage: str) -> Json:
        """The stage, and with it `manifest` (of the active version; {} before the first) and `versions`.

        Each version has `number`, `createdAt`, `fingerprint` and `state` ("active", "superseded", "rolled-back").
        Raises AppNotFound, StageNotFound.
        """
        ...

    async def delete_stage(self, app: str, stage: str) -> None:
        """Remove a stage with its endpoints and their jobs. Raises AppNotFound, StageNotFound, StageBusy."""

    async def delete_endpoint(self, app: str, stage: str, endpoint: str) -> None:
        """Remove one endpoint of a stage, by its name, with its jobs; a deploy that has it makes it anew.

        Raises AppNotFound, StageNotFound, EndpointNotFound, StageBusy.
        """

    async def renew(self, app: str, stage: str) -> str | None:
        """Let a stage that expires live on; until when, None: it lasts. Raises AppNotFound, StageNotFound."""
        ...

    async def deploy(
        self, app: str, stage: str, manifest: Json, *, base: int, prune: bool = False, on_progress: OnProgress = quietly
    ) -> Json:
        """Give a stage the endpoints of a build's manifest whose bodies are complete; its artifacts are uploaded.

        `base`: the version that it was planned against, 0: none. `prune`: endpoints that are not in it are removed;
        else they are left. Who is cancelled while environments are prepared has changed nothing.

        Gives `version`, `stage` and `changes`: `endpoint`, `id` and `change` ("create", "update", "roll", "remove",
        "keep", "left") of each. With nothing to change, the version stays the same.

        Raises:
            AppNotFound, StageNotFound, StageBusy, StageMoved, ContentNotFound: as named; nothing was changed.
            ConfigError: an endpoint cannot be so; the message names each, and nothing was changed.
            InstallError: an environment cannot be built; nothing was changed.
        """
        ...

    async def roll_back(
        self, app: str, stage: str, version: int | None = None, *, on_progress: OnProgress = quietly
    ) -> Json:
        """Give a stage the endpoints of an earlier version again, by default of the one before the active one.

        Endpoints that came since then are removed. Gives and raises as `deploy` does.
        """
        ...

    async def collect(self, *, dry_run: bool = False) -> list[Json]:
        """Remove what has expired; what that was (with `dry_run`: would be): `kind`, `name`, `app`, `owner`, `why`."""
        ...


class VolumeStore(Protocol):
    """The network volumes of a platform, and their files. Paths are those of the volume."""

    def within(self, scope: str) -> "VolumeStore":
        """The same, but that names are those of another scope than the project's: of a stage, say."""
        ...

    async def find(self, name: str, datacenter: str) -> Json | None:
        """The project's volume of this name in a data center: `id`, `name`, `size` (GB), `dataCenter`; or None."""

    async def get(self, volume_id: str) -> Json:
        """The volume. Raises VolumeNotFound."""
        ...

    async def create(self, name: str, size: int, datacenter: str) -> Json:
        """Make a volume of `size` GB and return the platform's description of it."""
        ...

    async def use(self, volume_id: str) -> Json:
        """`size` and `used` in bytes. Raises VolumeNotFound."""
        ...

    async def entries(self, volume_id: str, path: str) -> tuple[str, list[Json]]:
        """The kind of what is at a path; a folder's entries, or the file's own: `name`, `kind`, `size`, `modified`.

        Raises VolumeNotFound, VolumeFileNotFound, ConfigError: the path cannot be.
        """
        ...

    async def read(self, volume_id: str, path: str, target: Path) -> None:
        """Write a file of the volume to `target`. Raises as `entries` does."""

    async def write(self, volume_id: str, path: str, source: Path) -> None:
        """Put the file `source` into the volume in one step. Raises as `entries` does, and PayloadTooLarge."""

    async def make_folder(self, volume_id: str, path: str) -> None:
        """Make a folder and those above it; one that is there is left. Raises as `entries` does."""

    async def delete(self, volume_id: str, path: str) -> None:
        """Delete a file, or a folder with all that is in it. Raises as `entries` does."""


class Look(Protocol):
    """What there is on a platform, what was, and what workers write. Nothing is changed."""

    async def overview(self) -> Json:
        """Endpoints with their jobs and workers: `user` (who asks), `endpoints`, `jobs` (how many are unfinished).

        Of each endpoint `id`, `name`, `type`, `url`, `project` (the scope of its name, "" where that is not told),
        `owner`, `jobs`, `workers`, `workerIds`, `waiting`; those of a stage have `app`, `stage`, `expiresAt`, too.
        """
        ...

    async def jobs(
        self, endpoints: Sequence[str] = (), *, statuses: Sequence[str] = (), since: float = 0.0, limit: int = 100
    ) -> list[Json]:
        """The last jobs, the newest first: the job object without output, `endpoint`, `attempts` and times.

        Args:
            endpoints: the ids of those whose jobs they are; none: of all.
            statuses: in one of these states; none: in any.
            since: submitted after that, in seconds since the epoch.
            limit: at most so many.

        Raises:
            EndpointNotFound, BackendError: there is no such endpoint, the platform lists no jobs.
        """
        ...

    async def lines_of_endpoint(
        self,
        endpoint_id: str,
        take: Callable[[Json], None],
        *,
        since: float = 0.0,
        tail: int | None = None,
        follow: bool = False,
    ) -> None:
        """Give `take` the lines that workers of an endpoint wrote, the oldest first: `time`, `job`, `stream`, `line` …

        Args:
            endpoint_id: the endpoint.
            take: gets each line.
            since: only those after that, in seconds since the epoch.
            tail: of them so many of the last; None: all that the platform has.
            follow: go on with those that come, until the endpoint is gone or the platform stops.

        Raises:
            EndpointNotFound, BackendError: there is no such endpoint, the platform tells no lines.
        """

    async def lines_of_job(
        self,
        job_id: str,
        take: Callable[[Json], None],
        *,
        since: float = 0.0,
        tail: int | None = None,
        follow: bool = False,
    ) -> None:
        """The same of one job; `follow` ends with it. Raises JobNotFound, BackendError."""


class Backend(Protocol):
    """The way to one platform.

    Attributes:
        shares_machine: whether workers run on this machine, so that the caller's own interpreter can serve them.
        default_queue_delay: the `queueDelay` in seconds for endpoints whose user named no scaler; 0 scales at once.
        takes_uploads: whether artifacts and values can be put on the platform by themselves. Elsewhere calls carry
            them, and results come inside jobs (`Call`).
        serves_routes: whether its workers can serve the routes of an artifact.
        takes_pickles: whether the platform lets this user's pickles be loaded.
        conversation: takes calls many at a time; None where each is a request of its own.
        volumes: its network volumes.
        apps: its apps, and their stages.
        look: what there is on it.
    """

    @property
    def shares_machine(self) -> bool: ...

    @property
    def default_queue_delay(self) -> float: ...

    @property
    def takes_uploads(self) -> bool: ...

    @property
    def serves_routes(self) -> bool: ...

    @property
    def takes_pickles(self) -> bool: ...

    @property
    def conversation(self) -> "Conversation | None": ...

    @property
    def volumes(self) -> VolumeStore: ...

    @property
    def apps(self) -> AppStore: ...

    @property
    def look(self) -> Look: ...

    async def address(self) -> "Address":
        """Where the platform is now and the key for it, for programs that speak HTTP to it themselves.

        Raises:
            BackendUnavailable: it cannot be reached.
            BackendError: it is not reached over HTTP.
        """
        ...

    async def find(self, name: str) -> Json | None:
        """The endpoint of this name in the project, as the platform describes it (`id` and the body), or None."""

    async def describe(self, endpoint_id: str) -> Json:
        """The endpoint with this id, as `find` gives it. Raises EndpointNotFound."""
        ...

    async def create(self, body: Json) -> Json:
        """Create an endpoint (`spec.to_body`) and return the platform's description of it."""
        ...

    async def update(self, endpoint_id: str, body: Json) -> Json:
        """Change an endpoint in place and return the new description. Raises EndpointNotFound."""
        ...

    async def delete(self, endpoint_id: str) -> None:
        """Remove an endpoint with its jobs; one that is gone already is no error."""
        ...

    async def has_artifact(self, artifact_id: str) -> bool:
        """Whether the platform holds this artifact."""
        ...

    async def put_artifact(self, artifact_id: str, data: bytes) -> None:
        """Store an artifact. Raises PayloadTooLarge, WireMismatch."""

    async def upload_artifact(self, artifact_id: str, source: Path, said: Callable[[int, int], None]) -> None:
        """Store an artifact from a file, piece by piece, unless it is there; go on where an earlier attempt ended.

        `said` is told how many bytes have arrived, of how many. Raises PayloadTooLarge, ShippingError, BackendError.
        """

    async def put_value(self, sha256: str, data: bytes) -> None:
        """Store a payload by its hash; nothing is sent when the platform has it. Raises PayloadTooLarge."""

    def place(self, pieces: Pieces) -> Payload | None:
        """Leave an encoded value in memory that the platform shares, at once. None: it does not, or has no room.

        The call that names it is to be submitted, or `unsent` to be called.
        """
        ...

    def unsent(self, payload: Payload) -> None:
        """The platform has not accepted the call for which a payload was made."""

    async def fetch(self, payload: Payload) -> Part:
        """The bytes of a payload that is not inline: as a view, where they are shared. Raises ContentNotFound."""
        ...

    def taken(self, payload: Payload) -> None:
        """A result was read by the one whom it was for: the platform need not keep it, where that holds its memory."""

    async def get_value(self, sha256: str) -> bytes:
        """Fetch a payload by its hash. Raises ContentNotFound."""
        ...

    async def submit(self, endpoint_id: str, call_input: Json, key: str, options: JobOptions = AS_USUAL) -> str:
        """Put a job into the endpoint's queue and return its id. The same `key` never makes a second job.

        Raises:
            EndpointNotFound: there is no such endpoint.
            ContentNotFound: an artifact or value of the call is missing; bring it and submit again.
            PayloadTooLarge: the call carries more than the platform takes.
        """
        ...

    async def run_sync(self, endpoint_id: str, job_input: Json, key: str, options: JobOptions, wait_s: float) -> Json:
        """Put a job into the queue and wait for its end, `wait_s` seconds (1 to 300); the job as it is then.

        Raises:
            EndpointNotFound: there is no such endpoint.
            PayloadTooLarge: the input is larger than the platform takes.
        """
        ...

    async def outcome(self, endpoint_id: str, job_id: str) -> Json:
        """Wait until the job is final and return it. Raises JobNotFound."""
        ...

    async def status(self, endpoint_id: str, job_id: str) -> Json:
        """The job as it is now. Raises JobNotFound."""
        ...

    async def cancel(self, endpoint_id: str, job_id: str) -> None:
        """Cancel a job that has not finished; a finished one stays as it is. Raises JobNotFound."""

    async def retry(self, endpoint_id: str, job_id: str) -> Json:
        """Queue a job that has failed or timed out once more; gives its id and new status.

        Raises:
            JobNotFound: there is no such job.
            ConfigError: it has not ended, or has ended well.
        """
        ...

    def chunks(self, endpoint_id: str, job_id: str) -> AsyncGenerator[Any, None]:
        """What a job yields, as it comes, until the job has ended, well or not. Each chunk is given to one reader.

        Raises:
            JobNotFound: there is no such job.
            BackendUnavailable: the platform cannot be reached; where it has the published API alone, chunks that were
                under way may be lost.
        """
        ...

    async def health(self, endpoint_id: str) -> Json:
        """How many `jobs` and `workers` an endpoint has, in which states. Raises EndpointNotFound."""
        ...

    async def purge(self, endpoint_id: str) -> int:
        """Cancel the jobs that wait for a worker; how many those were. Raises EndpointNotFound."""
        ...

    async def request(self, endpoint_id: str, asked: WebRequest) -> WebAnswer:
        """Make an HTTP request to a load-balanced endpoint. `asked.timeout_s` is the caller's to keep.

        Raises:
            EndpointNotFound: there is no such endpoint.
            BackendUnavailable: nobody answers.
        """
        ...

    async def logs(self, endpoint_id: str, job_id: str, *, follow: bool = False) -> Sequence[str]:
        """The lines that the job wrote to stdout and stderr and that the platform still has, oldest first.

        `follow`: those that it writes from then on, neither more nor fewer, are shown as they come. Raises JobNotFound.
        """
        ...

    async def find_submitted(self, keys: Sequence[str]) -> Mapping[str, Json] | None:
        """The jobs that were submitted with these keys, by key: `id`, `endpoint` (its id) and `status` of each.

        Keys without a job are absent. None: this platform cannot find jobs by their keys.
        """

    async def facts(self, job_id: str) -> Json:
        """All that is known of a job of any endpoint: `job`, `endpoint` (`id`, `name`, `project`), `attempts`, `cause`.

        Raises JobNotFound.
        """
        ...

    async def drop_instance(self, instance_id: str) -> None:
        """Close and forget an instance of a remote class; one that is unknown is no error."""

    async def aclose(self) -> None:
        """Close the connection. May be called twice."""
