"""What clients say of workers that are lent to them: they ask for one, and tell of calls that it was given."""

import contextlib
from collections.abc import Mapping
from typing import Any

from runpod_flash.control_plane.api.access import Access
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.loans import Loans, wanted_of
from runpod_flash.control_plane.principals import Need, Principal
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.rates import is_rated
from runpod_flash.control_plane.records import Batch, JobRecord
from runpod_flash.errors import ContentNotFound, EndpointNotFound
from worker_runtime.wire import calls
from worker_runtime.wire.calls import Submit
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.fields import require
from worker_runtime.wire.frames import Header


class Borrowing:
    """What one client may say. `client`: its event stream. `loans`: who lends workers; None: nobody does."""

    def __init__(self, loans: Loans | None, access: Access, limits: Limits, principal: Principal, client: str) -> None:
        self._loans, self._access, self._limits = loans, access, limits
        self._principal, self._client = principal, client

    def ask(self, header: Header, asked: Submit) -> bool:
        """Lend the owner's client a worker; whether that can be. Raises WireError."""
        who = self._principal
        if self._loans is None or not who.is_admin or is_rated(self._limits, who) or asked.options:
            return False
        with contextlib.suppress(EndpointNotFound, Problem):
            endpoint = self._access.endpoint_of(who, Need.RUN, asked.endpoint)
            return self._loans.lend(wanted_of(header, endpoint, asked.call, self._client))
        return False

    def left(self) -> None:
        """The client has gone."""
        if self._loans is not None:
            self._loans.left(self._client)

    async def begun(self, asked: Submit, loan: str, number: int) -> JobRecord:
        """The job of a call that a lent worker was given. Raises Problem, and as `Loans.begun` does."""
        if self._loans is None:
            raise Problem(400, "this control plane lends no workers")
        try:
            endpoint = self._access.endpoint_of(self._principal, Need.RUN, asked.endpoint)
        except EndpointNotFound as error:  # else its client would make the endpoint anew, and run the call once more
            raise Problem(409, f"{error}, so that the call that it ran has no job") from error
        batch = Batch(asked.call, asked.jobs, client=self._client, fresh=False)
        try:
            return await self._loans.begun(batch, endpoint, loan, number)
        except ContentNotFound as error:  # the same
            raise Problem(409, f"{error}: the call that it ran has no job") from error


def lent_by(header: Mapping[str, Any]) -> tuple[str, int]:
    """The loan of a call that was given to a worker, and its number there. Raises WireError."""
    jobs, number = require(header, "jobs", list), require(header, "number", int)
    if len(jobs) != 1:
        raise WireError(f"a frame of type {calls.BEGUN!r} has {len(jobs)} jobs; it must have one")
    return require(header, "loan", str), number
