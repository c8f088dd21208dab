"""Frozen descriptions that cross a process border: the artifact's manifest and the launch of a worker."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from worker_runtime.wire import PROTOCOL
from worker_runtime.wire.batch import Batch
from worker_runtime.wire.errors import VersionMismatch, WireError
from worker_runtime.wire.fields import absolute, optional, require, seconds, string_map, strings
from worker_runtime.wire.interface import Interface
from worker_runtime.wire.locks import checked
from worker_runtime.wire.retries import Backoff


@dataclass(frozen=True, slots=True)
class PackageIndex:
    """Where packages come from: pip's settings in pip's words; `worker_runtime.install` translates them for uv."""

    index_url: str | None = field(default=None, repr=False)
    extra_index_urls: tuple[str, ...] = field(default=(), repr=False)
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    trusted_hosts: tuple[str, ...] = ()
    cert: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "PackageIndex":
        return cls(
            index_url=optional(data, "index_url", str),
            extra_index_urls=strings(data, "extra_index_urls"),
            find_links=strings(data, "find_links"),
            no_index=require(data, "no_index", bool, default=False),
            trusted_hosts=strings(data, "trusted_hosts"),
            cert=optional(data, "cert", str),
        )


@dataclass(frozen=True, slots=True)
class EnvironmentRequest:
    """What an environment must offer: dependencies for one Python, on top of the caller's packages where there are any.

    `caller` is the path of the caller's interpreter when caller and platform share the machine, else None.
    `python` is "major.minor". Without `accelerate` packages are installed by pip, not by what is faster. Where there is
    a `lock` (lines as `wire.locks` reads them), exactly those packages are installed, in an environment of their own,
    and `dependencies` only say what they were resolved from. `preload` are modules that may be imported once for many
    workers; the environment is the same whatever they are.
    """

    python: str
    dependencies: tuple[str, ...] = ()
    system_dependencies: tuple[str, ...] = ()
    caller: str | None = None
    index: PackageIndex = PackageIndex()
    accelerate: bool = True
    lock: tuple[str, ...] = field(default=(), repr=False)
    preload: tuple[str, ...] = ()

    @property
    def packages(self) -> tuple[str, ...]:
        """What an installer is given: the lock, else the dependencies."""
        return self.lock or self.dependencies

    def to_json(self) -> dict[str, Any]:
        """Plain data. A request without a lock looks as it did before there were locks: ids are hashes of this."""
        return {name: value for name, value in asdict(self).items() if value or name not in ("lock", "preload")}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "EnvironmentRequest":
        return cls(
            python=require(data, "python", str),
            dependencies=strings(data, "dependencies"),
            system_dependencies=strings(data, "system_dependencies"),
            caller=optional(data, "caller", str),
            index=PackageIndex.from_json(require(data, "index", dict, default={})),
            accelerate=require(data, "accelerate", bool, default=True),
            lock=checked(strings(data, "lock")),
            preload=strings(data, "preload"),
        )


KINDS = ("function", "class", "routes")
"""What an artifact can be."""


@dataclass(frozen=True, slots=True)
class ArtifactManifest:
    """The identity of shipped code. Programs that ship the same code have equal manifests, whatever their pickles say.

    `entry` is "module:qualname" for what is imported by name from `files`, None for what is pickled (`code.payload`).
    `code` is a hash of the function or class and the globals it refers to. `files` maps relative POSIX paths to sha256.
    The pickle of "routes" is a function without parameters that gives what is served (`routes.Served`).
    `interface` says what plain JSON its calls take, where it was built to be deployed; `retries` and `backoff` hold for
    those.
    """

    kind: str  # one of KINDS
    name: str
    code: str
    environment: EnvironmentRequest
    entry: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    max_concurrency: int = 1
    batch: Batch | None = None  # the function takes lists; `max_concurrency` counts its calls, not its batches
    interface: Interface | None = None
    retries: int | None = None  # of plain calls, which say nothing of it themselves: see `jobs.Call`
    backoff: Backoff | None = None

    def to_json(self) -> dict[str, Any]:
        data = {"protocol": PROTOCOL, **asdict(self), "files": dict(self.files)}
        data["environment"] = self.environment.to_json()
        for name, part in (("interface", self.interface), ("backoff", self.backoff)):
            data[name] = None if part is None else part.to_json()
        absent = [name for name in ("interface", "retries", "backoff") if data[name] is None]
        return {name: value for name, value in data.items() if name not in absent}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ArtifactManifest":
        """Read what `to_json` wrote. Raises WireError, VersionMismatch."""
        protocol = require(data, "protocol", int)
        if protocol != PROTOCOL:
            raise VersionMismatch(
                f"the artifact has protocol {protocol}, this side speaks {PROTOCOL}; use one version on both sides"
            )
        kind = require(data, "kind", str)
        if kind not in KINDS:
            raise WireError(f"field 'kind' is {kind!r}; it must be one of {', '.join(map(repr, KINDS))}")
        concurrency = require(data, "max_concurrency", int, default=1)
        if concurrency < 1:
            raise WireError(f"field 'max_concurrency' is {concurrency}; it must be 1 or more")
        batch, interface = optional(data, "batch", dict), optional(data, "interface", dict)
        backoff = optional(data, "backoff", dict)
        return cls(
            kind=kind,
            name=require(data, "name", str),
            code=require(data, "code", str),
            environment=EnvironmentRequest.from_json(require(data, "environment", dict)),
            entry=optional(data, "entry", str),
            files=string_map(data, "files"),
            max_concurrency=concurrency,
            batch=Batch.from_json(batch) if batch is not None else None,
            interface=Interface.from_json(interface) if interface is not None else None,
            retries=optional(data, "retries", int),
            backoff=Backoff.from_json(backoff) if backoff is not None else None,
        )

    @property
    def id(self) -> str:
        """The artifact's id: sha256 of the manifest's canonical JSON."""
        return canonical_hash(self.to_json())

    @property
    def files_id(self) -> str:
        """Hash of the local modules alone: workers that imported other files cannot serve this artifact."""
        return canonical_hash(dict(self.files))


@dataclass(frozen=True, slots=True)
class WorkerLaunch:
    """All that a worker process needs to start; it arrives as one line of JSON on the worker's standard input."""

    worker: str
    token: str = field(repr=False)
    address: str  # "unix:/path" or "tcp:host:port" of the control plane's worker link
    endpoint: str  # the endpoint's id, for RUNPOD_ENDPOINT_ID
    name: str  # the endpoint's name, for FLASH_RESOURCE_NAME
    folder: str  # the worker's own folder: working directory and unpacked code; removed when it ends
    python: str  # the interpreter of the environment
    bundle: str  # folder that holds this runtime; goes to the end of sys.path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)  # the complete environment of the user's code
    overlay: str | None = None  # folder of packages laid in front of the interpreter's own
    cpus: tuple[int, ...] = ()  # affinity; empty: all
    memory_mb: int = 0  # what user code may use, in MB of 1024² bytes; 0: no limit
    max_concurrency: int = 1
    beat_s: float = 3.0
    cancel_grace_s: float = 3.0
    hidden: tuple[str, ...] = ()  # files and folders the user's code must not see
    readonly: tuple[str, ...] = ()  # folders in which the user's code can change nothing but in this worker's own
    private: str | None = None  # of this folder user code sees only this worker's own and those of `readonly` in it
    volume: str | None = None  # the folder that the user's code sees at /runpod-volume
    must_isolate: bool = False  # do not start where `hidden`, `readonly` and `private` cannot be kept
    pickles: bool = True  # whether code and values that came as pickles are loaded
    command: str | None = None  # a shell command line to run in place of the child that runs calls
    directory: str | None = None  # where the command runs; None: in the worker's own folder
    farewell: tuple[str, ...] = ()  # a program that the parent runs when the command and all below it have ended
    drain_s: float = 10.0  # for the command, or the server of routes, to end by itself after SIGTERM
    arena: str = ""  # the socket where the control plane shares memory with workers; "": nowhere
    preload: tuple[str, ...] = ()  # modules that may be imported before the worker is forked, if it is
    port: int = 0  # of 127.0.0.1, where the child serves the artifact's routes; 0: it runs calls

    def to_json(self) -> dict[str, Any]:
        return {"protocol": PROTOCOL, **asdict(self), "env": dict(self.env)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "WorkerLaunch":
        """Read what `to_json` wrote. Raises WireError."""
        texts = {
            name: require(data, name, str)
            for name in ("worker", "token", "address", "endpoint", "name", "folder", "python", "bundle")
        }
        return cls(
            **texts,
            env=string_map(data, "env"),
            overlay=optional(data, "overlay", str),
            cpus=tuple(require(data, "cpus", list, default=[])),
            memory_mb=require(data, "memory_mb", int, default=0),
            max_concurrency=require(data, "max_concurrency", int, default=1),
            beat_s=seconds(data, "beat_s", 3.0),
            cancel_grace_s=seconds(data, "cancel_grace_s", 3.0),
            hidden=strings(data, "hidden"),
            readonly=strings(data, "readonly"),
            private=absolute(data, "private"),
            volume=absolute(data, "volume"),
            must_isolate=require(data, "must_isolate", bool, default=False),
            pickles=require(data, "pickles", bool, default=True),
            command=_command(data),
            directory=absolute(data, "directory"),
            farewell=strings(data, "farewell"),
            drain_s=seconds(data, "drain_s", 10.0),
            arena=require(data, "arena", str, default=""),
            preload=strings(data, "preload"),
            port=require(data, "port", int, default=0),
        )


def _command(data: Mapping[str, Any]) -> str | None:
    command = optional(data, "command", str)
    if command is not None and (not command.strip() or "\0" in command):
        raise WireError(f"field 'command' is {command!r:.80}; it must be a command line for /bin/sh")
    return command


def canonical_hash(data: Any) -> str:
    """sha256 of the canonical JSON (sorted keys, no spaces) of plain data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
