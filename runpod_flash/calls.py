"""One call as the user made it: what `remote` hands to `session`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Final, Protocol

from runpod_flash.retries import Retries
from runpod_flash.spec import EndpointSpec


class Keeper(Protocol):
    """Who made a remote object on the platform and can drop it there: the objects of a session."""

    async def drop(self, instance_id: str) -> None:
        """Drop it and wait for that."""

    def drop_later(self, instance_id: str) -> None:
        """Drop it without waiting."""


@dataclass(eq=False, slots=True)
class RemoteObject:
    """The object of a remote class, as the caller knows it: an id, and how to construct it on a worker.

    `constructor` is the encoded (args, kwargs); it and `session` are filled in by the first call, so that an object
    without a session was never used. `borrowed` objects came in a pickle; whoever made them drops them.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    id: str = field(default_factory=lambda: os.urandom(16).hex())
    borrowed: bool = False
    constructor: bytes | None = None
    session: Keeper | None = None


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What one job is submitted with, beside its input. Times in milliseconds; None: the endpoint's or platform's own.

    Attributes:
        timeout_ms: how long an attempt may run.
        queue_timeout_ms: how long it may wait for a worker, each time that it is queued (an extension of the API).
        ttl_ms: how long it may live, waiting and running.
        low_priority: whether it waits for workers that others have brought, instead of starting some.
        webhook: the URL that is told its end.
        s3_config: the storage that a handler may use, as the published API has it. Its values are secrets.
    """

    timeout_ms: int | None = None
    queue_timeout_ms: int | None = None
    ttl_ms: int | None = None
    low_priority: bool = False
    webhook: str | None = None
    s3_config: Mapping[str, str] | None = field(default=None, repr=False)

    def to_body(self) -> dict[str, Any]:
        """Their part of the body of `run`: `policy`, `webhook` and `s3Config`, as far as they say something."""
        times = {"executionTimeout": self.timeout_ms, "queueTimeout": self.queue_timeout_ms, "ttl": self.ttl_ms}
        policy: dict[str, Any] = {name: value for name, value in times.items() if value is not None}
        if self.low_priority:
            policy["lowPriority"] = True
        return {
            **({"policy": policy} if policy else {}),
            **({"webhook": self.webhook} if self.webhook is not None else {}),
            **({"s3Config": dict(self.s3_config)} if self.s3_config is not None else {}),
        }


AS_USUAL: Final = JobOptions()
"""The options of a job for which nobody said any."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to run where: the function or class, its endpoint, the arguments as given, and for a method its object."""

    target: FunctionType | type
    spec: EndpointSpec
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    method: str | None = None
    instance: RemoteObject | None = None
    options: JobOptions = AS_USUAL
    retries: int | Retries | None = None  # None: the endpoint's
    stream: bool = False  # it is a generator, whose items are wanted

    @property
    def shown(self) -> str:
        """The name that messages give to what is called."""
        return f"{self.target.__name__}.{self.method}" if self.method else self.target.__name__


@dataclass(frozen=True, slots=True)
class Ticket:
    """A submitted job: its id, its endpoint's id ("" where only the name is known) and name.

    `stream`: it is known to be the call of a generator, which has items and no result.
    """

    job_id: str
    endpoint_id: str
    name: str
    stream: bool = False


def detached(tickets: Sequence[Ticket], name: str) -> str:
    """What a user is told who does not wait any more for the jobs of the function `name`, which may still run."""
    if not tickets:
        return f"detached from {name} before its call had reached the platform"
    ticket = tickets[0]
    if len(tickets) > 1:
        return (
            f"detached from {len(tickets)} jobs of endpoint '{ticket.name}', which may still run; come back with "
            f"{name}.recover()"
        )
    return (
        f"detached from job {ticket.job_id} of endpoint '{ticket.name}', which may still run; come back with "
        f"`flash jobs attach {ticket.job_id}` or {name}.job({ticket.job_id!r}).result()"
    )
