"""`build`: a project becomes a manifest and artifacts, in its folder `.flash/build`. Equal input gives equal bytes.

files ▶ candidates ▶ imported in a process of their own ▶ described ▶ requirements ▶ packed artifacts
"""

import asyncio
import hashlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flash_cli import settings
from flash_cli.builds import discovery, locking, packing, project_files, requirement_files
from flash_cli.builds.discovery import Discovered, Interpreter
from flash_cli.builds.lock_file import LockFile, Wanted, locked
from flash_cli.builds.locking import LockOptions
from flash_cli.builds.manifest import BuildManifest, BuiltEndpoint, BuiltRoute
from flash_cli.builds.packing import Hashes, Packed, Packer, ShippedFile
from flash_cli.builds.project_files import Fault, Listing
from flash_cli.builds.requirement_files import Line, package_name
from runpod_flash import crossing, package_index
from runpod_flash import settings as sdk_settings
from runpod_flash.errors import ConfigError
from runpod_flash.options import PYTHONS
from runpod_flash.settings import Settings
from worker_runtime.wire.batch import Batch
from worker_runtime.wire.interface import Interface
from worker_runtime.wire.retries import Backoff
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest, PackageIndex

__all__ = ["BuildOptions", "Built", "Fault", "Interpreter", "build"]

SCRATCH = ".flash"
"""The folder in a project where builds lie; it keeps itself out of git."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How a project is built.

    Attributes:
        app: the app's name.
        exclude: names of packages that are left out of all requirements.
        no_deps: keep no locks: workers resolve what the code names.
        python_version: the workers' "major.minor" for endpoints that name none; None: that of this program.
        locked: whether requirements are resolved and kept in `flash.lock`.
        shared_interpreter: the interpreter whose packages workers use, on this machine; None: they have their own.
        upgrade: lock the newest packages, not those of `flash.lock`.
    """

    app: str
    exclude: tuple[str, ...] = ()
    no_deps: bool = False
    python_version: str | None = None
    locked: bool = True
    shared_interpreter: str | None = None
    upgrade: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """A project that was built.

    Attributes:
        manifest: its endpoints.
        artifacts: where the code of each lies, by its id.
        faults: files that could not be used; their endpoints are not in the manifest.
        warnings: what people should know.
        took_s: how long it took, in seconds.
        listing: the files of the project.
        shipped: the files that travel with an endpoint, by its name.
        requirements: what is installed for an endpoint, and who named it, by its name.
        hashes: of the files that were read.
    """

    manifest: BuildManifest
    artifacts: Mapping[str, Path]
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...]
    took_s: float
    listing: Listing = field(repr=False)
    shipped: Mapping[str, tuple[ShippedFile, ...]] = field(repr=False)
    requirements: Mapping[str, tuple[Line, ...]] = field(repr=False)
    hashes: Hashes = field(repr=False)


async def build(
    project: Path, options: BuildOptions, known: Built | None = None, ready: Interpreter | None = None
) -> Built:
    """Build a project. May be cancelled; no process outlives it.

    Args:
        project: its folder.
        options: how.
        known: what was built before: files that are as they were are not read again.
        ready: an interpreter that was started for this project before; it is used up.

    Raises:
        ConfigError: there are no endpoints, two have one name, or a requirement is none.
        InstallError: requirements have no solution; with the resolver's words.
        PayloadTooLarge, ShippingError: an endpoint's files are too much, or cannot be read.
    """
    try:
        return await _built(Path(os.path.abspath(project)), options, known, ready)
    finally:
        if ready is not None:
            await ready.close()


async def _built(root: Path, options: BuildOptions, known: Built | None, ready: Interpreter | None) -> Built:
    started = time.monotonic()
    chosen = sdk_settings.load(folder=root)
    environ = chosen.environ
    _check(options)
    listing, found = await _discovered(root, options, settings.import_s(environ), ready)
    named = _Requirements(requirement_files.read(root, environ), options.exclude)
    needed = {str(each["name"]): named.of(each) for each in found.endpoints}
    index = package_index.read(environ, Path(sys.prefix))
    scratch = scratch_of(root)
    locks = await _locks(root, found, needed, options, index, chosen)
    packer = Packer(listing, scratch / "build" / "artifacts", {} if known is None else known.hashes)
    made = [
        await asyncio.to_thread(
            _made, each, _Packages(_texts(needed[each["name"]]), locks.get(each["name"], ""), index), options, packer
        )
        for each in found.endpoints
    ]
    return Built(
        BuildManifest(options.app, tuple(each.endpoint for each in made)),
        {each.packed.id: each.packed.file for each in made if each.packed is not None},
        found.faults,
        (*listing.warnings, *found.notices, *named.warnings(), *packer.warnings),
        time.monotonic() - started,
        listing,
        {each.endpoint.name: each.files for each in made},
        needed,
        packer.hashes,
    )


def _texts(lines: tuple[Line, ...]) -> tuple[str, ...]:
    return tuple(line.text for line in lines)


def scratch_of(root: Path) -> Path:
    """The project's `.flash`, which tells git to look away. Raises ShippingError where it cannot be written."""
    folder = root / SCRATCH
    if not (folder / ".gitignore").is_file():
        packing.write(folder / ".gitignore", b"*\n")
    return folder


def lock_options(root: Path, chosen: Settings, index: PackageIndex) -> LockOptions:
    """How the packages of a project are locked, for the machines of the chosen target."""
    here = chosen.target == "local"
    return LockOptions(
        folder=root / SCRATCH / "locks",
        index=index,
        environ=chosen.environ,
        platform=locking.platform_here() if here else locking.LINUX,
        same_machine=here,
    )


async def _locks(
    root: Path,
    found: Discovered,
    needed: Mapping[str, tuple[Line, ...]],
    options: BuildOptions,
    index: PackageIndex,
    chosen: Settings,
) -> Mapping[str, str]:
    """The lock of each endpoint, kept in the project. Raises ConfigError, InstallError."""
    if not options.locked or options.no_deps:
        return {}
    pythons = {str(each["name"]): str(each["python"]) for each in found.endpoints}
    wanted = {name: Wanted(_texts(lines), pythons[name]) for name, lines in needed.items() if lines}
    known = LockFile.read(root)
    made = await locked(known, wanted, replace(lock_options(root, chosen, index), upgrade=options.upgrade))
    gone = set() if found.faults else {name for name in known.locks if name not in wanted}
    LockFile({name: text for name, text in made.locks.items() if name not in gone}).write(root)
    return {name: made.locks[name] for name in wanted}


async def _discovered(
    root: Path, options: BuildOptions, deadline_s: float, ready: Interpreter | None
) -> tuple[Listing, Discovered]:
    """The project's files and endpoints, with all faults. Raises ConfigError."""
    listing = await asyncio.to_thread(project_files.listing, root)
    candidates, faults = await asyncio.to_thread(listing.candidates)
    found = Discovered((), (), ())
    if candidates:
        found = await discovery.discover(
            root, candidates, deadline_s=deadline_s, python=options.python_version, ready=ready
        )
    everything = tuple(sorted((*faults, *found.faults), key=lambda fault: fault.file))
    if not found.endpoints and not everything:
        raise ConfigError(_nothing(root, listing, candidates))
    return listing, Discovered(found.endpoints, everything, found.notices)


def _check(options: BuildOptions) -> None:
    if options.python_version is not None and options.python_version not in PYTHONS:
        raise ConfigError(f"--python-version is {options.python_version!r}; it must be one of {', '.join(PYTHONS)}")


def _nothing(root: Path, listing: Listing, candidates: list[str]) -> str:
    sources = sum(path.endswith(".py") for path in listing.files)
    looked = f"of {sources} .py files that are not ignored, {len(candidates)} mention runpod_flash or Endpoint"
    shown = f" ({', '.join(candidates[:5])}{' …' if len(candidates) > 5 else ''})" if candidates else ""
    left = sorted(each.path for each in listing.left_out if each.path.endswith(".py"))
    ignored = f"; left out were {', '.join(left[:5])}{' …' if len(left) > 5 else ''}" if left else ""
    return (
        f"no endpoints in {root}: {looked}{shown}, and none of those has one at its top{ignored}. Decorate a function "
        "with @Endpoint(…), or start with flash init"
    )


class _Requirements:
    """What is installed for endpoints: what they name, and the project's requirements.txt."""

    def __init__(self, lines: tuple[Line, ...], exclude: tuple[str, ...]) -> None:
        self._lines = lines
        self._exclude = {requirement_files.canonical(name): name for name in exclude}
        self._seen: set[str] = set()

    def of(self, described: Mapping[str, Any]) -> tuple[Line, ...]:
        """The requirements of an endpoint; an image has its own."""
        if described["kind"] == "image":
            return ()
        own = [Line(text, f"dependencies= of {described['name']}") for text in described["dependencies"]]
        named = {each.name for each in (*own, *self._lines)}
        serving = [
            Line(text, "serving its routes needs it")
            for text in described.get("packages", ())
            if package_name(text) not in named
        ]
        wanted = dict.fromkeys(each for each in (*own, *self._lines, *serving) if each.name != requirement_files.OURS)
        self._seen.update(each.name for each in wanted)
        return tuple({each.text: each for each in reversed(wanted) if each.name not in self._exclude}.values())[::-1]

    def warnings(self) -> Iterator[str]:
        """Names that were to be left out and that nothing requires."""
        for name, given in self._exclude.items():
            if name not in self._seen:
                yield f"--exclude names {given}, which nothing requires by itself"


@dataclass(frozen=True, slots=True)
class _Made:
    """An endpoint with its code, which an image has none of."""

    endpoint: BuiltEndpoint
    packed: Packed | None = None
    files: tuple[ShippedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class _Packages:
    """What is installed for an endpoint: what is named for it, the text of its lock, and where all that comes from."""

    requirements: tuple[str, ...]
    lock: str
    index: PackageIndex


def _made(described: Mapping[str, Any], packages: _Packages, options: BuildOptions, packer: Packer) -> _Made:
    """One endpoint, its artifact written. Raises PayloadTooLarge, ShippingError."""
    if described["kind"] == "image":
        return _Made(_endpoint(described, packages, None))
    files = packer.files(described)
    environment = _environment(described, packages, options)
    manifest = _manifest(described, environment, packer.hashed(files))
    packed = packer.pack(manifest, described.get("code"), files)
    return _Made(_endpoint(described, packages, packed), packed, files)


def _environment(described: Mapping[str, Any], packages: _Packages, options: BuildOptions) -> EnvironmentRequest:
    python, requirements = str(described["python"]), packages.requirements
    return EnvironmentRequest(
        python=python,
        dependencies=requirements,
        system_dependencies=tuple(described["system"]),
        caller=options.shared_interpreter if python == crossing.HERE else None,
        index=packages.index if requirements else PackageIndex(),
        accelerate=described["accelerate"] or not requirements,
        lock=locking.lines(packages.lock),
        preload=tuple(described["preload"]),
    )


def _manifest(
    described: Mapping[str, Any], environment: EnvironmentRequest, files: Mapping[str, str]
) -> ArtifactManifest:
    entry, batch, interface, backoff = (described.get(name) for name in ("entry", "batch", "interface", "backoff"))
    return ArtifactManifest(
        kind=described["kind"],
        name=described["name"],
        code=hashlib.sha256(str(entry or described["code"]).encode()).hexdigest(),
        environment=environment,
        entry=entry,
        files=files,
        max_concurrency=described.get("concurrency", 1),
        batch=None if batch is None else Batch.from_json(batch),
        interface=None if interface is None else Interface.from_json(interface),
        retries=described.get("retries"),
        backoff=None if backoff is None else Backoff.from_json(backoff),
    )


def _endpoint(described: Mapping[str, Any], packages: _Packages, packed: Packed | None) -> BuiltEndpoint:
    interface = described.get("interface")
    code = {} if packed is None else {"artifact": packed.id}
    return BuiltEndpoint(
        name=described["name"],
        kind=described["kind"],
        file=described["file"],
        object=described["object"],
        body={**described["body"], **code},
        volumes=tuple(described["volumes"]),
        artifact=None if packed is None else packed.id,
        size=0 if packed is None else packed.size,
        python=described["python"],
        requirements=packages.requirements,
        lock=packages.lock,
        routes=tuple(BuiltRoute.from_json(each) for each in described.get("routes", ())),
        interface=None if interface is None else Interface.from_json(interface),
        doc=described.get("doc", ""),
    )
