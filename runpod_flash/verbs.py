"""`api.get("/path")` and its like: as a decorator it serves a function, awaited it is a request to what is served."""

from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from runpod_flash import lazy
from runpod_flash.errors import CallError
from runpod_flash.routes import RouteTable, check_path

if TYPE_CHECKING:
    from runpod_flash.session import Session

F = TypeVar("F", bound=Callable[..., Any])

_NOT_GIVEN: Any = object()


class Verb:
    """One HTTP method of an endpoint.

    As a decorator, with a path only, it serves a function, which comes back as it is: calling it runs it here. Awaited,
    it sends a request to the endpoint, which is brought to the platform first, and gives what the answer holds.
    """

    def __init__(self, table: RouteTable, method: str) -> None:
        self._table, self._method = table, method

    def __call__(
        self,
        path: str,
        data: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        timeout: float | None = _NOT_GIVEN,
    ) -> "RouteOrRequest":
        """What is both, a decorator and a request; what comes next says which one is meant.

        Args:
            path: begins with "/". A decorator's may have placeholders, "{name}".
            data: the body: bytes as they are, all else as JSON; a dict that has bytes among its values as a form.
            headers: in addition to the key.
            params: for the query; a list gives its name several times.
            json: the body, as JSON.
            timeout: seconds until the answer must be there; None: as long as the platform lets it take.
        """
        given = {"data": data, "headers": headers, "params": params, "json": json}
        asked = {name: value for name, value in given.items() if value is not None}
        if timeout is not _NOT_GIVEN:
            asked["timeout"] = timeout
        return RouteOrRequest(self._table, self._method, path, asked)

    def blocking(self, path: str, data: Any = None, **asked: Any) -> Any:
        """The request, for code without an event loop: block until the answer is there."""
        return self(path, data, **asked).blocking()


class RouteOrRequest:
    """See `Verb`."""

    def __init__(self, table: RouteTable, method: str, path: str, asked: Mapping[str, Any]) -> None:
        self._table, self._method, self._path, self._asked = table, method, path, asked
        if not asked:
            return
        if callable(path):
            check_path(method, path)

    def __call__(self, function: F) -> F:
        """Serve a function. Raises ConfigError, and CallError where a request was meant."""
        if self._asked:
            given = ", ".join(f"{name}=" for name in self._asked)
            raise CallError(
                f"{self._method.lower()}() got {given}, so it is a request, to be awaited; as a decorator it takes the "
                "path only"
            )
        return self._table.add(self._method, self._path, function)

    def __await__(self) -> Generator[Any, None, Any]:
        """Send the request and give what the answer holds: see `Endpoint.post`."""
        return self._send().__await__()

    def blocking(self) -> Any:
        """Send the request and block until the answer is there."""
        session = _session()
        return session.run(self._send())

    async def _send(self) -> Any:
        return await _session().ask_routes(self._table, self._method, self._path, self._asked)


def decorator(table: RouteTable, method: str, path: str) -> Callable[[F], F]:
    """What serves a function there and gives it back. Raises ConfigError: nothing can be served there."""
    check_path(method, path)

    def serve(function: F) -> F:
        return table.add(method, path, function)

    return serve


def _session() -> "Session":
    return cast("Session", lazy.load("runpod_flash.session").current())
