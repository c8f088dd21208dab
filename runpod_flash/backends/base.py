"""What the SDK asks of a platform: a few verbs, the same for every backend.

A backend belongs to the event loop that opened it and closes itself when that loop's tasks are cancelled (the end of
`asyncio.run`). All verbs are coroutines and raise only errors of `runpod_flash.errors`; foreign exceptions are
translated inside the backend.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from runpod_flash.calls import AS_USUAL, JobOptions
from runpod_flash.web import WebAnswer, WebRequest

if TYPE_CHECKING:
    from runpod_flash.backends.clients import Address

Json: TypeAlias = Mapping[str, Any]
"""A JSON object as it came from, or goes to, the platform."""


class VolumeStore(Protocol):
    """The network volumes of a platform, and their files. Paths are those of the volume."""

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


class Backend(Protocol):
    """The way to one platform.

    Attributes:
        shares_machine: whether workers run on this machine, so that the caller's own interpreter can serve them.
        default_queue_delay: the `queueDelay` in seconds for endpoints whose user named no scaler; 0 scales at once.
        takes_uploads: whether artifacts and values can be put on the platform by themselves. Elsewhere calls carry
            them, and results come inside jobs (`Call`).
        serves_routes: whether its workers can serve the routes of an artifact.
        takes_pickles: whether the platform lets this user's pickles be loaded.
        volumes: its network volumes.
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
    def volumes(self) -> VolumeStore: ...

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

    async def put_value(self, sha256: str, data: bytes) -> None:
        """Store a payload by its hash; nothing is sent when the platform has it. Raises PayloadTooLarge."""

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
