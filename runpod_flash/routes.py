"""The HTTP face of an endpoint: functions at paths, or a whole ASGI application. Declared here, served by its workers.

Everything that can be told without loading a web framework is checked at the decoration; types are checked by
`route_types` before anything is sent.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from runpod_flash.errors import ConfigError
from runpod_flash.hardware import ServerlessScalerType
from runpod_flash.spec import EndpointSpec
from worker_runtime.wire.methods import METHODS, RESERVED, WEBSOCKET

F = TypeVar("F", bound=Callable[..., Any])

_PLACEHOLDER = r"\{([A-Za-z_]\w*)(?::(?:str|path|int|float|uuid))?\}"
_FILLED_BY_THE_FRAMEWORK = ("Request", "HTTPConnection", "WebSocket", "Depends")
_LIBRARIES = ("fastapi", "starlette")


class Route(NamedTuple):
    """A function and where it is served. `method` is one of METHODS or WEBSOCKET."""

    method: str
    path: str
    function: Callable[..., Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class RouteTable:
    """What one endpoint serves: routes, or a function that makes an application; empty at first."""

    def __init__(self, spec: EndpointSpec) -> None:
        self.spec = spec
        self.routes: list[Route] = []
        self.make_app: Callable[[], Any] | None = None
        self.taken_by = ""  # the function or class whose calls the endpoint takes instead
        self.code: Any = None  # what `route_types.code_of` has made of all this

    def __bool__(self) -> bool:
        return bool(self.routes) or self.make_app is not None

    def add(self, method: str, path: Any, function: F) -> F:
        """Serve a function; it comes back as it is, marked for tools.

        Raises:
            ConfigError: it cannot be served there; the message names the route.
        """
        route = checked(method, path, function)
        self._check_endpoint(f"route {route}")
        if self.make_app is not None:
            raise ConfigError(f"endpoint '{self.spec.name}' serves a whole application; add route {route} to that one")
        same = [known for known in self.routes if _key(known) == _key(route)]
        if same:
            raise ConfigError(
                f"duplicate route: endpoint '{self.spec.name}' has {same[0]} already, served by "
                f"{same[0].function.__qualname__}; give one of the two another path"
            )
        self.routes.append(route)
        self.code = None
        self._mark(function, method, path)
        return function

    def add_app(self, make_app: F) -> F:
        """Serve the ASGI application that a function without parameters makes. Raises ConfigError."""
        self._check_endpoint("an application")
        if not callable(make_app) or isinstance(make_app, type) or _is_generator(make_app):
            raise ConfigError(f"asgi() takes a function that makes an ASGI application, not {make_app!r:.80}")
        needed = [one.name for one in inspect.signature(make_app).parameters.values() if one.default is one.empty]
        if needed or inspect.iscoroutinefunction(make_app):
            raise ConfigError(
                f"asgi() takes a plain function without parameters that makes an ASGI application; {_shown(make_app)} "
                f"{f'needs {needed[0]}' if needed else 'is a coroutine function'}"
            )
        if self:
            raise ConfigError(f"endpoint '{self.spec.name}' serves something already; give the application an endpoint")
        self.make_app, self.code = make_app, None
        return make_app

    def _check_endpoint(self, what: str) -> None:
        spec = self.spec
        if not spec.name:
            raise ConfigError(f"{what} needs an endpoint with a name: Endpoint(name=…)")
        if self.taken_by:
            raise ConfigError(
                f"endpoint '{spec.name}' runs {self.taken_by} already, so it serves no routes; declare another Endpoint"
            )
        if spec.scaler_type is ServerlessScalerType.QUEUE_DELAY:
            raise ConfigError(
                f"scaler_type= of endpoint '{spec.name}' is QUEUE_DELAY, but requests of {what} wait in no queue; it "
                "must be REQUEST_COUNT, which is the default there"
            )
        if spec.scaler_value is not None and (spec.scaler_value < 1 or spec.scaler_value != int(spec.scaler_value)):
            raise ConfigError(
                f"scaler_value= of endpoint '{spec.name}' is {spec.scaler_value}; with routes it must be a whole "
                "number of 1 or more (requests per worker)"
            )

    def _mark(self, function: Any, method: str, path: str) -> None:
        spec = self.spec
        function.__is_lb_route_handler__ = True
        function.__remote_config__ = _Marks(
            resource_config=spec,
            method=method,
            path=path,
            dependencies=list(spec.dependencies) or None,
            system_dependencies=list(spec.system_dependencies) or None,
            is_lb_route_handler=True,
        )


class _Marks(dict[str, Any]):
    """What tools read on a route function. It does not travel with it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, ()


def checked(method: str, path: Any, function: Any) -> Route:
    """A route that can be served, as far as that can be told now. Raises ConfigError."""
    placeholders = _check_path(method, path)
    where = f"{method} {path}"
    if not inspect.isfunction(function):
        raise ConfigError(f"route {where} decorates a function, not {_shown(function)}")
    if method == WEBSOCKET and (_is_generator(function) or not inspect.iscoroutinefunction(function)):
        raise ConfigError(f"route {where} is a websocket; make {_shown(function)} an async def that gets the WebSocket")
    parameters = inspect.signature(function).parameters
    for one in parameters.values():
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            stars = "*" if one.kind is one.VAR_POSITIONAL else "**"
            raise ConfigError(
                f"route {where}: parameter {stars}{one.name} of {_shown(function)} cannot be filled from a request; "
                "name each parameter"
            )
    if method == WEBSOCKET and not parameters:
        raise ConfigError(f"route {where}: {_shown(function)} has no parameter for the WebSocket")
    missing = [name for name in placeholders if name not in parameters]
    if missing and not any(map(_is_the_frameworks, parameters.values())):
        raise ConfigError(
            f"route {where}: {_shown(function)} has no parameter {missing[0]!r}, which the path names; there are "
            f"{', '.join(parameters) or 'none'}"
        )
    for one in parameters.values():
        if _names_path(one) and one.name not in placeholders:
            raise ConfigError(
                f"route {where}: parameter {one.name!r} of {_shown(function)} is to come from the path, which has no "
                f"{{{one.name}}}"
            )
    return Route(method, path, function)


def check_path(method: str, path: Any) -> None:
    """Raise ConfigError where no route can be there."""
    _check_path(method, path)


def _check_path(method: str, path: Any) -> list[str]:
    """The names of the path's placeholders. Raises ConfigError where no route can be there."""
    assert method in (*METHODS, WEBSOCKET)
    verb = method.lower()
    if callable(path):
        raise ConfigError(f"{verb}() needs the path first: @api.{verb}('/path')")
    if not isinstance(path, str) or not path.startswith("/"):
        near = f"; did you mean '/{path}'?" if isinstance(path, str) else ""
        raise ConfigError(f"the path of a {method} route is {path!r:.80}; it must begin with '/'{near}")
    if path.rstrip("/") in RESERVED:
        raise ConfigError(f"the path {path!r} is reserved, as are {', '.join(RESERVED)}; take another one")
    names = re.findall(_PLACEHOLDER, path)
    rest = re.sub(_PLACEHOLDER, "", path)
    if "{" in rest or "}" in rest:
        raise ConfigError(f"the path {path!r:.80} has braces that are no placeholder; write {{name}} or {{name:path}}")
    if not rest.isprintable() or any(sign in rest for sign in "?# "):
        raise ConfigError(f"the path {path!r:.80} has signs that no path has; a query fills parameters by itself")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"the path {path!r:.80} has the placeholder {twice[0]!r} twice")
    return names


def _key(route: Route) -> tuple[str, str]:
    """Routes of one key would answer the same requests."""
    return route.method, re.sub(_PLACEHOLDER, "{}", route.path)


def _is_the_frameworks(parameter: inspect.Parameter) -> bool:
    """Whether the framework fills it with something that knows the request's path."""
    kinds = (parameter.annotation, type(parameter.default))
    named = isinstance(parameter.annotation, str) and any(
        name in parameter.annotation for name in _FILLED_BY_THE_FRAMEWORK
    )
    return named or any(_module(kind) in _LIBRARIES for kind in kinds) or "Depends" in repr(parameter.annotation)


def _names_path(parameter: inspect.Parameter) -> bool:
    notes = [parameter.default, *getattr(parameter.annotation, "__metadata__", ())]
    return any(_module(type(note)) in _LIBRARIES and type(note).__name__ == "Path" for note in notes)


def _module(kind: Any) -> str:
    return str(getattr(kind, "__module__", "")).partition(".")[0]


def _is_generator(function: Any) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _shown(target: Any) -> str:
    name = getattr(target, "__qualname__", None)
    return f"{name}()" if name else f"{target!r:.80}"
