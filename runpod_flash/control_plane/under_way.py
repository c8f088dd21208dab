"""Submissions that are being accepted, by their keys: whoever sends one once more meanwhile gets the same job."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any

from runpod_flash.control_plane.records import JobRecord

Outcomes = Mapping[str, JobRecord | Exception]
"""What became of jobs that were submitted, by their keys: accepted, or refused."""

Work = Coroutine[Any, Any, Outcomes]


class UnderWay:
    """What is being accepted, by endpoint and key."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str], asyncio.Future[Outcomes]] = {}

    def get(self, endpoint_id: str, key: str) -> "asyncio.Future[Outcomes] | None":
        """What will have the job of this key; None where it does not come just now."""
        return self._by_key.get((endpoint_id, key))

    def begin(self, endpoint_id: str, key: str, work: Work) -> "asyncio.Future[Outcomes]":
        """Accept a job, whether or not whoever asked for it leaves meanwhile."""
        pending = asyncio.ensure_future(work)
        self._by_key[endpoint_id, key] = pending
        pending.add_done_callback(lambda _: self._forget(endpoint_id, [key]))
        return pending

    async def together(self, endpoint_id: str, keys: Sequence[str], work: Work) -> Outcomes:
        """Accept jobs for a caller that waits to the end: without a task of its own."""
        pending: asyncio.Future[Outcomes] = asyncio.get_running_loop().create_future()
        self._by_key.update(dict.fromkeys([(endpoint_id, key) for key in keys], pending))
        try:
            outcomes = await work
            pending.set_result(outcomes)
            return outcomes
        except BaseException as error:
            pending.set_exception(error)
            pending.exception()  # marks it as seen, also where nobody waits
            raise
        finally:
            self._forget(endpoint_id, keys)

    def _forget(self, endpoint_id: str, keys: Iterable[str]) -> None:
        for key in keys:
            self._by_key.pop((endpoint_id, key), None)


async def outcome_of(found: "JobRecord | asyncio.Future[Outcomes]", key: str) -> JobRecord | Exception:
    """What became of the submission with this key."""
    if isinstance(found, JobRecord):
        return found
    return (await asyncio.shield(found))[key]
