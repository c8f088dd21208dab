"""HTTP requests by the methods of an endpoint: `await ep.get(path)`, `ep.get.blocking(path)`. Light to import.

The same words declare routes, `@ep.get(path)`, so what a call of them gives is both: awaited it makes the request, used
as a decorator it asks the endpoint what becomes of that.
"""

import warnings
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from runpod_flash import lazy
from runpod_flash.errors import CallError

if TYPE_CHECKING:
    from runpod_flash.session import Session
    from runpod_flash.web import WebRequest

F = TypeVar("F", bound=Callable[..., Any])

_AS_USUAL: Any = object()  # stands for web.ANSWER_S, which is not loaded yet


class Server(Protocol):
    """Whoever has these methods: it makes requests, and says what becomes of a decorator."""

    @property
    def _session(self) -> "Session": ...

    async def _request(self, asked: "WebRequest") -> Any: ...

    def _decorate(self, method: str, path: str, function: Any) -> Any: ...


class Asked(Coroutine[Any, Any, Any]):
    """A request that is made when it is awaited. As a decorator it declares a route, where that can be."""

    def __init__(self, owner: Server, method: str, path: str, more: Mapping[str, Any]) -> None:
        """Raises CallError where it can be nothing but a request, and a wrong one."""
        self._owner, self._method, self._path, self._more = owner, method, path, more
        self._used = True  # also where the next line raises
        self._request = _web_request(method, path, more) if more else None
        self._running: Coroutine[Any, Any, Any] | None = None
        self._used = False

    def __call__(self, function: F) -> F:
        """Use it as a decorator. Raises CallError or ConfigError where it cannot be one."""
        self._used = True
        if self._more:
            raise CallError(
                f"@….{self._method.lower()}({self._path!r}, …) was given {', '.join(self._more)}; a route takes its "
                "path alone, and a request is awaited instead of decorating"
            )
        return cast(F, self._owner._decorate(self._method, self._path, function))

    def send(self, value: Any) -> Any:
        return self._begun().send(value)

    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any:
        return self._begun().throw(typ if val is None else val)

    def close(self) -> None:
        self._used = True
        if self._running is not None:
            self._running.close()

    def __await__(self) -> Any:
        return self._begun().__await__()

    def _begun(self) -> Coroutine[Any, Any, Any]:
        if self._running is None:
            self._used = True
            self._running = self._made()
        return self._running

    async def _made(self) -> Any:
        return await self._owner._request(self._request or _web_request(self._method, self._path, self._more))

    def __repr__(self) -> str:
        return f"<{self._method} {self._path}: await it>"

    def __del__(self) -> None:
        if not self._used:
            how = f"await it, or use .{self._method.lower()}.blocking(…)"
            warnings.warn(
                f"{self._method} {self._path} was never awaited, so it was not made; {how}",
                RuntimeWarning,
                stacklevel=2,
            )


class HttpVerb:
    """One HTTP method of an endpoint: `await ep.get(path)`, `ep.get.blocking(path)`."""

    def __init__(self, owner: Server, method: str) -> None:
        self._owner, self._method = owner, method

    def __call__(
        self,
        path: str,
        data: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        timeout: float | None = _AS_USUAL,
    ) -> Asked:
        """Make a request to a path of the endpoint when the result is awaited.

        The value is the body of the answer: parsed where its content type is JSON, text where it is text, else bytes;
        None where it is empty. Redirections are not followed. A request that was sent is made again only if it is a GET
        and the connection broke.

        Args:
            path: begins with "/"; may have a query.
            data: the body; bytes go as they are, a dict with bytes among its values as a form, all else as JSON.
            headers: in addition to the key.
            params: for the query; a list gives its name several times.
            json: the body as JSON.
            timeout: seconds until the answer must be there (480); None: as long as the platform lets it take.

        Raises:
            CallError: something is of a wrong type; nothing was sent.
            ResponseError: the status is not 2xx.
            WaitTimedOut: there is no answer in time.
            EndpointNotFound, AuthError, BackendUnavailable, BackendError: the platform does not pass it on.
        """
        given = {"data": data, "headers": headers, "params": params, "json": json}
        more = {name: value for name, value in given.items() if value is not None}
        if timeout is not _AS_USUAL:
            more["timeout"] = timeout
        return Asked(self._owner, self._method, path, more)

    def aio(self, path: str, data: Any = None, **more: Any) -> Asked:
        """The same as calling it."""
        return self(path, data, **more)

    def blocking(self, path: str, data: Any = None, **more: Any) -> Any:
        """Make the request and block until its answer is there."""
        return self._owner._session.run(self(path, data, **more))


class http_verb:
    """Makes an HTTP method of whoever has the verbs an `HttpVerb`."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __get__(self, owner: Server, kind: Any) -> HttpVerb:
        return HttpVerb(owner, self._method)


def _web_request(method: str, path: str, more: Mapping[str, Any]) -> "WebRequest":
    return cast("WebRequest", lazy.load("runpod_flash.web").request(method, path, **more))
