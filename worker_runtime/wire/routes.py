"""What an artifact of kind "routes" gives: functions and the paths where they are served, or a whole application."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

CANNOT_SERVE = 70
"""The exit code of a server whose code could not be loaded, or makes no application."""

WEBSOCKET = "WEBSOCKET"
"""The method of a route that is a websocket."""

BODY_METHODS = ("POST", "PUT", "PATCH", "DELETE")
"""Those whose parameters are fields of a JSON body."""

METHODS = ("GET", *BODY_METHODS)

RESERVED = ("/ping", "/execute", "/docs", "/redoc", "/openapi.json")
"""Paths that no route may have: the server has them for itself, or Runpod's workers have."""


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
