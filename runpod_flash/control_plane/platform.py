"""What the HTTP faces need of the platform behind them. Tests bring a small one of their own."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from runpod_flash.control_plane.records import JobRecord


class Platform(Protocol):
    """Jobs and workers. Unknown ids raise EndpointNotFound or JobNotFound."""

    async def submit(
        self,
        endpoint_id: str,
        job_input: Mapping[str, Any],
        /,
        *,
        job_id: str,
        client: str | None,
        key: str | None,
        timeout_ms: int | None,
    ) -> JobRecord:
        """Queue a job; returns when it is stored. The same `key` at the same endpoint gives the job that it made first.

        `client` is the event stream that hears of it; `timeout_ms` replaces the endpoint's limit.

        Raises:
            ContentNotFound: the platform lacks an artifact or value that the input names.
            WireError: the input is none of ours and no worker can take it.
        """

    def job(self, endpoint_id: str, job_id: str, /) -> JobRecord:
        """The job as it is now."""

    async def wait(self, job_id: str, timeout_s: float, /) -> JobRecord:
        """The job when it is final, or as it is after `timeout_s` seconds or when the platform stops."""

    async def cancel(self, endpoint_id: str, job_id: str, /) -> JobRecord:
        """Cancel the job unless it is final; returns it as it is then."""

    def health(self, endpoint_id: str, /) -> Mapping[str, Mapping[str, int]]:
        """Counters under `jobs` and `workers`; those left out are 0."""

    def workers(self, endpoint_id: str, /) -> Sequence[Mapping[str, Any]]:
        """The endpoint's workers as published: `id`, `status`, `isStale`, `gpuCount` and what else is known of each."""

    async def drop_instance(self, instance_id: str, /) -> None:
        """Close and forget the object of a remote class. Unknown ones are none."""

    def logs(self, job_id: str, /) -> Sequence[Mapping[str, str]]:
        """What the job wrote, as far as it is remembered: `stream` and `line` of each."""

    def overview(self) -> Mapping[str, Any]:
        """All that `flash status` shows, as JSON."""

    async def delete_endpoint_jobs(self, endpoint_id: str, /) -> None:
        """Cancel and forget the jobs of an endpoint that is deleted."""
