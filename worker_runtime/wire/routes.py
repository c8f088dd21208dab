"""What an artifact of kind "routes" gives: functions and the paths where they are served, or a whole application."""

import importlib
import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from worker_runtime.wire.errors import WireError

CANNOT_SERVE = 70
"""The exit code of a server whose code could not be loaded, or makes no application."""


@dataclass(frozen=True, slots=True)
class ServedRoute:
    """A function and where it is served. `hints`: its annotations where they were text, as types; "return" included."""

    method: str
    path: str
    function: Callable[..., Any]
    hints: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Served:
    """Routes, or a function without parameters that makes an ASGI application."""

    routes: tuple[ServedRoute, ...] = ()
    make_app: Callable[[], Any] | None = None


def by_name(served: Served, entry: Callable[[Callable[..., Any]], str]) -> bytes:
    """The form without a pickle: JSON. `entry` gives the import path of a function, "module:qualname"."""
    routes = [[route.method, route.path, entry(route.function)] for route in served.routes]
    return json.dumps({"routes": routes, "app": entry(served.make_app) if served.make_app else None}).encode()


def is_by_name(code: bytes) -> bool:
    """Whether these bytes are that form."""
    return code.startswith(b"{")


def from_names(code: bytes) -> Served:
    """Read what `by_name` wrote. The modules are imported. Raises WireError, and whatever they raise."""
    try:
        found = json.loads(code)
        routes, app = [(str(method), str(path), str(entry)) for method, path, entry in found["routes"]], found["app"]
    except (ValueError, TypeError, KeyError) as error:
        raise WireError(f"the names of routes cannot be read: {error!r}") from error
    return Served(
        tuple(ServedRoute(method, path, _imported(entry), {}) for method, path, entry in routes),
        None if app is None else _imported(str(app)),
    )


def _imported(entry: str) -> Callable[..., Any]:
    module, _, path = entry.partition(":")
    function: Callable[..., Any] = operator.attrgetter(path)(importlib.import_module(module))
    return function
