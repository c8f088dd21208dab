"""Which path of the dev server means what: pure, made of the manifest of a build."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from starlette.routing import compile_path

from flash_cli.builds.manifest import BuildManifest, BuiltEndpoint
from worker_runtime.wire.interface import FUNCTION

JOB_OPERATIONS: Final = (
    "run", "runsync", "status", "status-sync", "stream", "cancel", "retry", "purge-queue", "requests", "health",
    "metrics", "openai",
)  # fmt: skip
"""What follows the address of an endpoint that takes jobs."""

SUBMITTING: Final = ("run", "runsync")
"""Those that bring a job."""

JOBS_BY_NAME: Final = "v2"
REQUESTS_BY_NAME: Final = "lb"

ANY: Final = "ANY"
"""Shown as the method of an address that takes any."""

Parts = tuple[str, ...]
"""A path, cut at its slashes and decoded."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a path means.

    Attributes:
        endpoint: the name of the endpoint.
        operation: the operation of the job API; "" where the endpoint answers HTTP requests itself.
        rest: the raw path below the endpoint, with a slash in front.
        call: the method that the path names, of a class that has several; else "".
        takes_nothing: the call has no parameters, so that a request needs no body.
        short: the path is one of the short ones, with which clients may leave `input` out.
    """

    endpoint: str
    operation: str
    rest: str
    call: str = ""
    takes_nothing: bool = False
    short: bool = False

    @property
    def is_balanced(self) -> bool:
        return not self.operation

    @property
    def may_repeat(self) -> bool:
        """Whether a request that is sent twice does no more than one: jobs have keys, and looking changes nothing."""
        return self.operation in ("status", "status-sync", "health", "requests", "metrics", "cancel")

    @property
    def brings_work(self) -> bool:
        """Whether code will run for it, so that it must be the newest."""
        return self.is_balanced or self.operation in (*SUBMITTING, "openai")


@dataclass(frozen=True, slots=True)
class Line:
    """A path as it is shown to people.

    Attributes:
        schema_of: the call whose parameters it takes; None where the endpoint answers requests itself.
        route: the route there, as the endpoint has it.
    """

    method: str
    path: str
    endpoint: BuiltEndpoint
    doc: str = ""
    schema_of: str | None = None
    route: str = ""


@dataclass(frozen=True, slots=True)
class _Call:
    """A function, or a method of a class, that has an address."""

    endpoint: BuiltEndpoint
    name: str  # as its interface has it; "" is the function
    shown: str

    @property
    def selects(self) -> str:
        calls = self.endpoint.interface.calls if self.endpoint.interface is not None else {}
        return self.name if len(calls) > 1 else ""

    @property
    def takes_nothing(self) -> bool:
        calls = self.endpoint.interface.calls if self.endpoint.interface is not None else {}
        return calls.get(self.name) == ()


@dataclass(frozen=True, slots=True)
class Table:
    """All addresses of a project's endpoints."""

    endpoints: Mapping[str, BuiltEndpoint] = field(default_factory=dict)
    calls: Mapping[Parts, _Call] = field(default_factory=dict)
    served: Mapping[Parts, tuple[BuiltEndpoint, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, endpoints: Iterable[BuiltEndpoint]) -> "Table":
        """The addresses of these endpoints. A function that is alone in its file has the file's own, too."""
        endpoints = tuple(endpoints)
        calls: dict[Parts, _Call] = {}
        served: dict[Parts, tuple[BuiltEndpoint, ...]] = {}
        for file in sorted({each.file for each in endpoints}):
            base, here = file_parts(file), [each for each in endpoints if each.file == file]
            found = [call for each in here for call in _calls(each)]
            for call in found:
                calls.setdefault((*base, call.shown), call)
            if len(found) == 1:
                calls.setdefault(base, found[0])
            balanced = tuple(each for each in here if is_balanced(each))
            if balanced:
                served[base] = balanced
        return cls({each.name: each for each in endpoints}, calls, served)

    def find(self, method: str, raw_path: str) -> Place | None:
        """What a request means, None where nothing has this address."""
        raw, parts = raw_path.lstrip("/").split("/"), parts_of(raw_path)
        for end in range(len(parts), 0, -1):
            place = self._at(method, parts[:end], parts[end:], raw[end:])
            if place is not None:
                return place
        return self._by_name(parts, raw)

    def _at(self, method: str, base: Parts, rest: Parts, raw: Sequence[str]) -> Place | None:
        call = self.calls.get(base)
        if call is not None and rest and rest[0] in JOB_OPERATIONS:
            below = "/" + "/".join(raw)
            return Place(call.endpoint.name, rest[0], below, call.selects, call.takes_nothing, short=True)
        served = self.served.get(base)
        if served:
            below = "/" + "/".join(raw)
            return Place(_answering(served, method, "/" + "/".join(rest)).name, "", below)
        return None

    def _by_name(self, parts: Parts, raw: Sequence[str]) -> Place | None:
        if len(parts) < 2 or parts[1] not in self.endpoints:
            return None
        endpoint, below = self.endpoints[parts[1]], "/" + "/".join(raw[2:])
        if parts[0] == JOBS_BY_NAME and len(parts) > 2:
            return Place(endpoint.name, parts[2], below)
        if parts[0] == REQUESTS_BY_NAME:
            return Place(endpoint.name, "", below)
        return None

    def lines(self) -> list[Line]:
        """The addresses that people use, in the order of files."""
        shown: dict[int, Parts] = {}
        for base, call in self.calls.items():
            known = shown.get(id(call))
            shown[id(call)] = base if known is None or len(base) < len(known) else known
        found = [
            Line("POST", f"{_joined(base)}/runsync", call.endpoint, _doc(call), call.name)
            for base, call in self.calls.items()
            if shown[id(call)] == base
        ]
        for base, endpoints in self.served.items():
            for each in endpoints:
                routes = [(route.method, route.path, route.doc) for route in each.routes]
                for method, path, doc in routes or [(ANY, "/", each.doc)]:
                    found.append(Line(method, _joined(base) + path, each, doc, route=path))
        named = {line.endpoint.name for line in found}
        for endpoint in self.endpoints.values():
            if endpoint.name not in named:
                way, end = (REQUESTS_BY_NAME, "/") if is_balanced(endpoint) else (JOBS_BY_NAME, "/runsync")
                method = ANY if is_balanced(endpoint) else "POST"
                found.append(Line(method, f"/{way}/{quote(endpoint.name)}{end}", endpoint, endpoint.doc))
        return sorted(found, key=lambda line: (line.endpoint.file, line.path, line.method))

    def nearest(self, raw_path: str) -> str:
        """The known address that is most like this one; "" where none is."""
        known = [line.path for line in self.lines()]
        return next(iter(difflib.get_close_matches(raw_path, known, 1, 0.4)), "")


def parts_of(raw_path: str) -> Parts:
    """A raw path, cut and decoded."""
    return tuple(unquote_to_bytes(part).decode("utf-8", "replace") for part in raw_path.lstrip("/").split("/"))


def file_parts(file: str) -> Parts:
    """The address of a file: its path without `.py`; of a package, its folder."""
    path = PurePosixPath(file).with_suffix("")
    return path.parent.parts if path.name == "__init__" and path.parent.parts else path.parts


def is_balanced(endpoint: BuiltEndpoint) -> bool:
    """Whether an endpoint answers HTTP requests instead of taking jobs."""
    return endpoint.kind == "routes" or endpoint.body.get("type") == "LOAD_BALANCER"


def merged(found: BuildManifest, broken: Iterable[str], last: BuildManifest | None) -> BuildManifest:
    """A build in which the endpoints of broken files are as they were in the last one, where they were."""
    files, names = frozenset(broken), {each.name for each in found.endpoints}
    before = () if last is None else last.endpoints
    kept = [each for each in before if each.file in files and each.name not in names]
    return BuildManifest(found.app, tuple(sorted((*found.endpoints, *kept), key=lambda each: each.name)))


def _calls(endpoint: BuiltEndpoint) -> list[_Call]:
    """The callables of an endpoint that takes jobs for code of its own."""
    if endpoint.interface is None or is_balanced(endpoint):
        return []
    function = endpoint.object.rpartition(".")[2]
    return [_Call(endpoint, name, function if name == FUNCTION else name) for name in endpoint.interface.calls]


def _answering(served: tuple[BuiltEndpoint, ...], method: str, path: str) -> BuiltEndpoint:
    """Of the endpoints of one file the one that has a route for this; else one that says what is wrong with it."""
    same_path = None
    for endpoint in served:
        for route in endpoint.routes:
            if compile_path(route.path)[0].match(path):
                if method in (route.method, "OPTIONS") or (method == "HEAD" and route.method == "GET"):
                    return endpoint
                same_path = same_path or endpoint
    whole_app = next((endpoint for endpoint in served if not endpoint.routes), None)
    return same_path or whole_app or served[0]


def _doc(call: _Call) -> str:
    docs = call.endpoint.interface.docs if call.endpoint.interface is not None else {}
    return docs.get(call.name) or call.endpoint.doc


def _joined(parts: Parts) -> str:
    return "".join(f"/{quote(part)}" for part in parts)
