"""Endpoints among the objects of imported modules, described as plain data: what a build needs to know of each.

Runs in the process that imported the project, and sends nothing.
"""

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from flash_cli.builds import image_kinds
from flash_cli.builds.interfaces import interface_of
from flash_cli.builds.manifest import BuiltRoute
from runpod_flash import crossing, options, route_types, script
from runpod_flash.endpoint import Endpoint
from runpod_flash.errors import ConfigError, NotPortable
from runpod_flash.local_modules import LocalModules
from runpod_flash.remote import RemoteClass, RemoteFunction
from runpod_flash.retries import as_sent
from runpod_flash.spec import EndpointSpec, to_body
from worker_runtime.wire.routes import Served, ServedRoute, by_name

Declared = RemoteFunction[..., Any] | RemoteClass[Any] | Endpoint

_WRAPPED = 20  # decorators around a decorated function that are looked through


@dataclass(frozen=True, slots=True)
class Place:
    """Where an endpoint is declared. `line` is 0 where that cannot be told."""

    file: str
    object: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.object} in {self.file}" + (f" line {self.line}" if self.line else "")


def declared_in(modules: Mapping[str, ModuleType]) -> Iterator[tuple[str, str, Declared]]:
    """Yield (file, variable, object) for each declared endpoint that the modules have, by the files given."""
    for file, module in modules.items():
        for name, value in list(vars(module).items()):
            for label, each in _inside(name, value, module):
                if (found := _declared(each)) is not None:
                    yield file, label, found


def _inside(name: str, value: Any, module: ModuleType) -> Iterator[tuple[str, Any]]:
    yield name, value
    if type(value) is dict:
        yield from ((f"{name}[{key!r}]", each) for key, each in list(value.items()))
    elif type(value) in (list, tuple):
        yield from ((f"{name}[{index}]", each) for index, each in enumerate(value))
    elif issubclass(type(value), type) and vars(value).get("__module__") == module.__name__:
        yield from ((f"{name}.{key}", getattr(each, "__func__", each)) for key, each in list(vars(value).items()))


def _declared(value: Any) -> Declared | None:
    """What a value is, or has inside of decorators. Asks its type alone: what it says of itself is the user's code."""
    for _ in range(_WRAPPED):
        kind = type(value)
        if issubclass(kind, RemoteFunction | RemoteClass):
            found: Declared = value
            return found
        if issubclass(kind, Endpoint):
            serves = bool(value._table) or bool(value.spec.image)
            return value if serves and value._given_id is None else None
        if kind is not FunctionType or "__wrapped__" not in vars(value):
            return None
        value = vars(value)["__wrapped__"]
    return None


class Describer:
    """Describes endpoints of one project.

    Args:
        root: the project's folder.
        files: its files that mention endpoints, relative to that.
        python: the workers' "major.minor" where an endpoint's own is that of this process; None: that.
    """

    def __init__(self, root: Path, files: Iterable[str], python: str | None = None) -> None:
        self._root = root
        self._files_of_project = [root / file for file in files]
        self._python = python
        self._local = LocalModules()

    def place(self, file: str, variable: str, found: Declared) -> Place:
        """Where it is declared; equal for equal endpoints, whichever module has imported them."""
        if isinstance(found, Endpoint):
            return self._endpoint_place(found) or Place(file, variable)
        target = found.__flash_target__
        return Place(self._file_of(target) or file, target.__qualname__, _line(target))

    def _endpoint_place(self, found: Endpoint) -> Place | None:
        """The variable of the module that has its first route; others may only have imported it."""
        function = found._table.routes[0].function if found._table.routes else found._table.make_app
        module = sys.modules.get(getattr(function, "__module__", None) or "")
        names = [name for name, value in list(vars(module).items()) if value is found] if module else []
        file = self._file_of(function) if names else ""
        return Place(file, names[0]) if file else None

    def key(self, found: Declared) -> tuple[Any, ...]:
        """What is equal for one endpoint, also where its file is loaded under two names."""
        if isinstance(found, Endpoint) and found.spec.image:
            return ("image", found.spec)
        if isinstance(found, Endpoint):
            table = found._table
            functions = [(f"{each.method} {each.path}", each.function) for each in table.routes]
            functions += [("", table.make_app)] if table.make_app is not None else []
            return ("routes", *((path, self._file_of(each), each.__qualname__) for path, each in functions))
        return ("object", self._file_of(found.__flash_target__), found.__flash_target__.__qualname__)

    def own(self, found: Declared) -> bool:
        """Whether its code is the user's: in no installed package."""
        if isinstance(found, Endpoint):
            functions = [*(route.function for route in found._table.routes), found._table.make_app]
            return all(each is None or self._local.is_local(each.__module__) for each in functions)
        return self._local.is_local(found.__flash_target__.__module__)

    def described(self, place: Place, found: Declared) -> dict[str, Any]:
        """All that a build needs to know, as JSON.

        Raises:
            ConfigError, NotPortable: it cannot be deployed; the message says why.
        """
        spec = found.spec
        options.check_requirements(spec)
        if isinstance(found, Endpoint):
            of_kind = self._image(spec, place.object) if spec.image else self._routes(found)
        else:
            of_kind = self._calls(found.__flash_target__, spec)
        python = self._python if self._python and spec.python_version == crossing.HERE else spec.python_version
        return {
            "name": spec.name,
            "file": place.file,
            "object": place.object,
            "volumes": [_volume(each) for each in spec.volume],
            "python": "" if spec.image else python,
            "dependencies": list(spec.dependencies),
            "system": list(spec.system_dependencies),
            "preload": list(spec.preload),
            "accelerate": spec.accelerate_downloads,
            **of_kind,
        }

    def _calls(self, target: FunctionType | type, spec: EndpointSpec) -> dict[str, Any]:
        entry = self._entry(target)
        kind = "class" if isinstance(target, type) else "function"
        batch = spec.batch
        retries, backoff = as_sent(spec.retries)
        return {
            "kind": kind,
            "entry": entry,
            "doc": inspect.getdoc(target) or "",
            "interface": interface_of(target, spec).to_json(),
            "concurrency": spec.concurrency,
            "batch": None if batch is None else {"max_size": batch.max_size, "max_wait_ms": batch.max_wait_ms},
            "retries": retries,
            "backoff": None if backoff is None else backoff.to_json(),
            "body": _body(spec),
            **self._files([entry.partition(":")[0]]),
        }

    def _routes(self, endpoint: Endpoint) -> dict[str, Any]:
        table, modules = endpoint._table, set[str]()
        needed = route_types.code_of(table).packages

        def entry(function: Any) -> str:
            found = self._entry(function)
            modules.add(found.partition(":")[0])
            return found

        served = Served(
            tuple(ServedRoute(each.method, each.path, each.function, {}) for each in table.routes), table.make_app
        )
        routes = [
            BuiltRoute(each.method, each.path, _dotted(each.function), inspect.getdoc(each.function) or "")
            for each in table.routes
        ]
        return {
            "kind": "routes",
            "code": by_name(served, entry).decode(),
            "routes": [each.to_json() for each in routes],
            "doc": (inspect.getdoc(table.make_app) if table.make_app else None) or "",
            "packages": list(needed),
            "body": _body(endpoint.spec, balanced=True),
            **self._files(sorted(modules)),
        }

    def _image(self, spec: EndpointSpec, variable: str) -> dict[str, Any]:
        return {"kind": "image", "body": _body(image_kinds.of_kind(spec, variable, self._files_of_project))}

    def _files(self, modules: Iterable[str]) -> dict[str, Any]:
        found = self._local.find(modules)
        return {"modules": dict(found.modules), "folders": dict(found.packages), "importers": dict(found.importers)}

    def _entry(self, target: Any) -> str:
        module, qualified = target.__module__, target.__qualname__
        there = script.find(module, qualified)
        if there is target or getattr(there, "__flash_target__", None) is target:
            return f"{module}:{qualified}"
        raise NotPortable(
            f"{qualified}() cannot be deployed: deployed code is imported by name, and "
            f"{crossing.why_no_file(target)}; move it to the top of a .py file"
        )

    def _file_of(self, target: Any) -> str:
        """The file that defines a function or class, relative to the project; "" where it lies elsewhere."""
        try:
            file = Path(inspect.getfile(inspect.unwrap(target)))
        except TypeError:
            return ""
        for each, top in ((file, self._root), (file.resolve(), self._root.resolve())):
            if each.is_relative_to(top):
                return each.relative_to(top).as_posix()
        return ""


def check_name(name: str, place: Place) -> None:
    """Raise ConfigError where a deployed endpoint cannot have this name: it stands in addresses and in commands."""
    plain = name.isascii() and all(sign.isalnum() or sign in "._-" for sign in name)
    if not plain or not (name[0].isalnum() or name[0] == "_"):
        raise ConfigError(
            f"the endpoint {name!r} ({place}) cannot be deployed under this name: it may have letters a-z and A-Z, "
            "digits and . _ - and begins with a letter, a digit or _; give it another name="
        )


def _body(spec: EndpointSpec, *, balanced: bool = False) -> dict[str, Any]:
    """The body for the platform, but without what only the platform knows: see `manifest.BuiltEndpoint`."""
    body = to_body(spec, default_queue_delay=0.0, artifact="" if balanced else None)
    del body["networkVolumes"]
    if body["type"] == "QUEUE" and spec.scaler_type is None and spec.scaler_value is None:
        del body["scaling"]
    return body


def _dotted(function: Any) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _volume(volume: Any) -> dict[str, Any]:
    if volume.given_id is not None:
        return {"id": volume.given_id}
    return {"name": volume.name, "size": volume.size, "dataCenter": volume.datacenter.value}


def _line(target: Any) -> int:
    code = getattr(inspect.unwrap(target), "__code__", None)
    if code is not None:
        return int(code.co_firstlineno)
    try:
        return inspect.getsourcelines(target)[1]
    except (OSError, TypeError):
        return 0
