"""The types of routes, checked before anything is sent, and the packages that serving them needs."""

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, cast

from runpod_flash import lazy
from runpod_flash.errors import ConfigError
from runpod_flash.routes import Route, RouteTable
from runpod_flash.spec import EndpointSpec
from worker_runtime.wire.methods import BODY_METHODS, WEBSOCKET
from worker_runtime.wire.routes import Served, ServedRoute

_LIBRARIES = ("fastapi", "starlette")
_FORMS = ("File", "Form", "UploadFile")
_ALWAYS = ("fastapi", "uvicorn")
_SOCKETS, _MULTIPART = "websockets", "python-multipart"


@dataclass(frozen=True, slots=True)
class Code:
    """What is shipped: a function that gives `Served`, and the packages that serving it needs."""

    target: FunctionType
    packages: tuple[str, ...]


def code_of(table: RouteTable) -> Code:
    """What is shipped for a table; made anew when that has grown.

    Raises:
        ConfigError: a type of a route's parameter cannot come with a request; route, parameter and type are named.
    """
    if table.code is None:
        table.code = _made(table)
    made: Code = table.code
    return made


def _made(table: RouteTable) -> Code:
    hints = {route: _hints(route) for route in table.routes}
    for route, known in hints.items():
        _check(route, known)
    served = Served(
        tuple(ServedRoute(each.method, each.path, each.function, _needed(each, hints[each])) for each in table.routes),
        table.make_app,
    )
    return Code(_giving(served, table), missing(_packages(table, hints), table.spec.dependencies))


def without_effect(spec: EndpointSpec) -> dict[str, str]:
    """What the user has said that routes pass over: messages, by a key for each."""
    said = {
        "max_concurrency": spec.max_concurrency > 1 or spec.batch is not None,
        "retries": spec.retries is not None,
        "execution_timeout_ms": spec.execution_timeout_ms > 0,
    }
    words = {
        "max_concurrency": "a worker answers as many requests at a time as come",
        "retries": "no request is tried twice",
        "execution_timeout_ms": "give each request a timeout=",
    }
    return {
        f"{option} {spec.name}": f"{option}= of endpoint '{spec.name}' has no effect on routes: {words[option]}"
        for option, given in said.items()
        if given
    }


def missing(packages: tuple[str, ...], dependencies: tuple[str, ...]) -> tuple[str, ...]:
    """Those packages that no dependency names."""
    named = {_name(text) for text in dependencies}
    return tuple(package for package in packages if package not in named)


def _giving(served: Served, table: RouteTable) -> FunctionType:
    def code() -> Served:
        return served

    first = table.routes[0].function if table.routes else table.make_app
    code.__module__, code.__name__ = getattr(first, "__module__", __name__), table.spec.name
    code.__qualname__ = f"{table.spec.name} (routes)"  # the name of nothing, so that it travels by value
    return cast(FunctionType, code)


def _hints(route: Route) -> dict[str, Any]:
    """The types of the function's parameters and result. Raises ConfigError where an annotation names nothing."""
    try:
        return typing.get_type_hints(route.function, include_extras=True)
    except Exception as error:  # annotations are the user's code
        raise ConfigError(
            f"route {route}: an annotation of {route.function.__qualname__}() cannot be read: {error}; define or "
            "import what it names at the top of the module"
        ) from error


def _needed(route: Route, hints: Mapping[str, Any]) -> dict[str, Any]:
    """The types that annotations which are text stand for; they may name what does not travel with the function."""
    annotations = getattr(route.function, "__annotations__", {})
    return dict(hints) if any(isinstance(each, str) for each in annotations.values()) else {}


def _check(route: Route, hints: Mapping[str, Any]) -> None:
    for name, parameter in inspect.signature(route.function).parameters.items():
        kind = hints.get(name, Any)
        if route.method == WEBSOCKET or _is_the_frameworks(kind, parameter.default):
            continue
        fault = _fault(kind)
        if fault is not None:
            raise ConfigError(
                f"route {route}: parameter {name!r} of {route.function.__qualname__}() has the type {_shown(kind)}, "
                f"which cannot come with a request ({fault}); take JSON types, a pydantic model or bytes"
            )


def _fault(kind: Any) -> str | None:
    """Why values of this type cannot be read from a request; None where they can."""
    pydantic = lazy.load("pydantic")
    try:
        pydantic.TypeAdapter(kind).json_schema()
    except pydantic.PydanticUserError as error:
        return str(error).splitlines()[0].rstrip(".")
    return None


def _is_the_frameworks(kind: Any, default: Any) -> bool:
    """Whether the web framework knows by itself where the value comes from."""
    parts = (kind, type(default), *map(type, getattr(kind, "__metadata__", ())))
    return any(str(getattr(part, "__module__", "")).partition(".")[0] in _LIBRARIES for part in parts)


def _packages(table: RouteTable, hints: Mapping[Route, Mapping[str, Any]]) -> tuple[str, ...]:
    sockets = table.make_app is not None or any(route.method == WEBSOCKET for route in table.routes)
    forms = any(_has_form(route.method, route.function, known) for route, known in hints.items())
    return (*_ALWAYS, *([_SOCKETS] if sockets else []), *([_MULTIPART] if forms else []))


def _has_form(method: str, function: Callable[..., Any], hints: Mapping[str, Any]) -> bool:
    if method not in BODY_METHODS:
        return False
    defaults = [type(one.default).__name__ for one in inspect.signature(function).parameters.values()]
    named = [each for kind in hints.values() for each in (kind, *map(type, getattr(kind, "__metadata__", ())))]
    return bytes in hints.values() or any(
        name in _FORMS for name in (*defaults, *(getattr(each, "__name__", "") for each in named))
    )


def _name(requirement: str) -> str:
    found = re.match(r"\s*([A-Za-z0-9._-]+)", requirement)
    return re.sub(r"[-_.]+", "-", found.group(1)).lower() if found else ""


def _shown(kind: Any) -> str:
    return getattr(kind, "__qualname__", None) or str(kind)
