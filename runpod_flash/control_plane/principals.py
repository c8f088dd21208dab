"""Who makes a request, and what they may do. Pure."""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

OWNER = ""
"""The user who runs the control plane."""

PRINCIPAL = "flash.principal"
"""The key of the ASGI scope under which the principal of a request is."""

NO_KEY = "no token provided"
"""What is said where a key is needed and there is none."""


class Scope(StrEnum):
    """What a key is for."""

    FULL = "full"  # everything with the user's own endpoints
    ENDPOINT = "endpoint"  # jobs of the endpoints that the key names
    READ_ONLY = "read-only"  # looking at the user's own endpoints and jobs


class Pickles(StrEnum):
    """Whose pickles workers load. A pickle is code: whoever may send one can make the worker do anything it can do."""

    EVERYBODY = "everybody"
    OWNER = "owner"
    NOBODY = "nobody"

    def of(self, user: str) -> bool:
        """Whether this user's are loaded."""
        return self is Pickles.EVERYBODY or (self is Pickles.OWNER and user == OWNER)


class Need(IntEnum):
    """What a request does."""

    READ = 1  # look at an endpoint or its jobs
    RUN = 2  # submit, cancel, retry jobs; send requests
    MANAGE = 3  # create, change and delete endpoints, ship code


@dataclass(frozen=True, slots=True)
class WorkerKey:
    """The key of a worker that lives now: valid for its code, which acts for the endpoint's owner."""

    key: str = field(repr=False)
    worker: str  # its id
    owner: str
    project: str = ""  # the endpoint's


@dataclass(frozen=True, slots=True)
class Principal:
    """The one whose key a request carries.

    `worker` is the id of the worker whose key it is: its code acts for the endpoint's owner, and may take that
    endpoint's jobs; nobody else may. `project` is the one whose endpoints it makes, changes and deletes; None: of all.
    """

    user: str = OWNER
    scope: Scope = Scope.FULL
    endpoints: frozenset[str] = frozenset()
    worker: str | None = None
    project: str | None = None

    @property
    def is_admin(self) -> bool:
        """Whether this is the control plane's owner in person: sees all endpoints, makes and revokes keys."""
        return self.user == OWNER and self.scope is Scope.FULL and self.worker is None

    def sees(self, owner: str, endpoint_id: str) -> bool:
        """Whether an endpoint exists for this principal at all."""
        if self.scope is Scope.ENDPOINT and endpoint_id not in self.endpoints:
            return False
        return self.is_admin or self.user == owner

    def sees_volumes_of(self, owner: str) -> bool:
        """Whether a user's network volumes exist for this principal. A key for single endpoints has none."""
        return self.scope is not Scope.ENDPOINT and (self.is_admin or self.user == owner)

    def may(self, need: Need) -> bool:
        """Whether the scope allows this with what it sees."""
        return need <= _MOST[self.scope]


_MOST: Final = {Scope.FULL: Need.MANAGE, Scope.ENDPOINT: Need.RUN, Scope.READ_ONLY: Need.READ}
