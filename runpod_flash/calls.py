"""One call as the user made it: what `remote` hands to `session`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Protocol

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
class Request:
    """What to run where: the function or class, its endpoint, the arguments as given, and for a method its object."""

    target: FunctionType | type
    spec: EndpointSpec
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    method: str | None = None
    instance: RemoteObject | None = None

    @property
    def shown(self) -> str:
        """The name that messages give to what is called."""
        return f"{self.target.__name__}.{self.method}" if self.method else self.target.__name__


@dataclass(frozen=True, slots=True)
class Ticket:
    """A submitted job: its id, its endpoint's id ("" where only the name is known) and name."""

    job_id: str
    endpoint_id: str
    name: str
