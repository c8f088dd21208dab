"""A request of a route that is asked often: no more than the server gives, read where it lies."""

from typing import Protocol

from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope


class Scoped(Protocol):
    """Anything that is asked over HTTP: an `Asked`, or a request or websocket of starlette."""

    @property
    def scope(self) -> Scope: ...


class Asked:
    """One request. `endpoint` and `job` are what its path names; `job` is "" where it names none."""

    __slots__ = ("endpoint", "job", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive, endpoint: str, job: str = "") -> None:
        self.scope = scope
        self.receive = receive
        self.endpoint = endpoint
        self.job = job

    def query(self, name: str) -> str | None:
        """A parameter of the query, the last one of this name; None where there is none."""
        text = self.scope["query_string"]
        if not text:
            return None
        first, _, value = text.partition(b"=")
        if value.isalnum() and first.isalpha():  # one parameter, with nothing to decode
            return value.decode() if first == name.encode() else None
        return QueryParams(text).get(name)
