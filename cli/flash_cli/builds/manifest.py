"""What a build says of itself: each endpoint of a project as it would be deployed. Kept as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runpod_flash.errors import ConfigError
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.fields import optional, require, string_map
from worker_runtime.wire.interface import Interface
from worker_runtime.wire.specs import canonical_hash

VERSION = 1

KINDS = ("function", "class", "routes", "image")
"""What an endpoint can run."""


@dataclass(frozen=True, slots=True)
class BuiltRoute:
    """A path that an endpoint serves, and the function behind it."""

    method: str
    path: str
    function: str
    doc: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"method": self.method, "path": self.path, "function": self.function, "doc": self.doc}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "BuiltRoute":
        return cls(**{name: require(data, name, str) for name in ("method", "path", "function", "doc")})


@dataclass(frozen=True, slots=True)
class BuiltEndpoint:
    """An endpoint as it was declared, with the code that it shall run.

    Attributes:
        name: the endpoint's name, unique in its app's stage.
        kind: one of KINDS.
        file: where it is declared, relative to the project's folder.
        object: the qualified name of the function or class there; of routes, the variable that holds the Endpoint.
        body: the body of `/v2/serverless`, but without `scaling` where the user named none and it takes jobs, and with
            no `networkVolumes`: what is there in their place only the platform knows.
        volumes: its network volumes: `{"id": …}` or `{"name": …, "size": GB, "dataCenter": …}` each.
        artifact: the id of its code; None for an image.
        size: bytes of that.
        python: the workers' "major.minor".
        requirements: the packages that were named for it.
        lock: the text of what those were resolved to, a line for each package, with hashes; "": nothing was.
        routes: what it serves, of kind "routes".
        interface: what plain JSON its calls take, of kinds "function" and "class".
        doc: the docstring.
        files: the sha256 of each file of its code, by its path.
    """

    name: str
    kind: str
    file: str
    object: str
    body: Mapping[str, Any]
    volumes: tuple[Mapping[str, Any], ...] = ()
    artifact: str | None = None
    size: int = 0
    python: str = ""
    requirements: tuple[str, ...] = ()
    lock: str = field(default="", repr=False)
    routes: tuple[BuiltRoute, ...] = ()
    interface: Interface | None = None
    doc: str = ""
    files: Mapping[str, str] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "file": self.file,
            "object": self.object,
            "body": dict(self.body),
            "volumes": [dict(volume) for volume in self.volumes],
            "artifact": self.artifact,
            "size": self.size,
            "python": self.python,
            "requirements": list(self.requirements),
            "lock": self.lock,
            "routes": [route.to_json() for route in self.routes],
            "interface": None if self.interface is None else self.interface.to_json(),
            "doc": self.doc,
            "files": dict(self.files),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "BuiltEndpoint":
        kind, interface = require(data, "kind", str), optional(data, "interface", dict)
        if kind not in KINDS:
            raise WireError(f"field 'kind' is {kind!r}; it must be one of {', '.join(KINDS)}")
        return cls(
            name=require(data, "name", str),
            kind=kind,
            file=require(data, "file", str),
            object=require(data, "object", str),
            body=require(data, "body", dict),
            volumes=tuple(require(data, "volumes", list, default=[])),
            artifact=optional(data, "artifact", str),
            size=require(data, "size", int, default=0),
            python=require(data, "python", str, default=""),
            requirements=tuple(require(data, "requirements", list, default=[])),
            lock=require(data, "lock", str, default=""),
            routes=tuple(BuiltRoute.from_json(route) for route in require(data, "routes", list, default=[])),
            interface=None if interface is None else Interface.from_json(interface),
            doc=require(data, "doc", str, default=""),
            files=string_map(data, "files"),
        )


@dataclass(frozen=True, slots=True)
class BuildManifest:
    """All endpoints of a project, by name."""

    app: str
    endpoints: tuple[BuiltEndpoint, ...]

    @property
    def fingerprint(self) -> str:
        """sha256 of all that is in it: equal for equal projects."""
        return canonical_hash([endpoint.to_json() for endpoint in self.endpoints])

    def to_json(self) -> dict[str, Any]:
        endpoints = [endpoint.to_json() for endpoint in self.endpoints]
        return {"version": VERSION, "app": self.app, "fingerprint": self.fingerprint, "endpoints": endpoints}

    def dumps(self) -> str:
        """Its text: the same for the same content."""
        return json.dumps(self.to_json(), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "BuildManifest":
        """Read what `to_json` wrote.

        Raises:
            ConfigError: it is no such thing, or one of another version.
        """
        version = data.get("version")
        if version != VERSION:
            raise ConfigError(f"the manifest has version {version!r:.20}, this is {VERSION}; build the project anew")
        try:
            endpoints = tuple(BuiltEndpoint.from_json(each) for each in require(data, "endpoints", list))
            return cls(require(data, "app", str), endpoints)
        except (WireError, TypeError, AttributeError) as error:
            raise ConfigError(f"this is no manifest of a build: {error}; build the project anew") from error
