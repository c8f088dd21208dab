"""Live functions and classes become artifacts, and arguments become payloads.

What an importable local module defines travels by name, with the files of the local modules it needs; everything else
is pickled, with the files of the local modules that it refers to. Where no pickle may travel (`crossing`), the script
goes as a file, too, and values in the neutral encoding.
"""

import hashlib
import inspect
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Generic, TypeVar

from runpod_flash import crossing, culprit, script
from runpod_flash.crossing import PICKLED, Crossing
from runpod_flash.errors import NotPicklable, NotPortable
from runpod_flash.identity import Identity, identify, is_heap_type
from runpod_flash.local_modules import LocalFiles, LocalModules, module_of
from worker_runtime.wire import neutral, paths, payload
from worker_runtime.wire.batch import Batch
from worker_runtime.wire.class_names import ClassNames, standard_module
from worker_runtime.wire.encoding import in_pieces
from worker_runtime.wire.errors import CannotTravel
from worker_runtime.wire.pieces import Encoded
from worker_runtime.wire.routes import by_name
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest

V = TypeVar("V")

_Asked = tuple[str, str, EnvironmentRequest, int, Batch | None, frozenset[str], Crossing]

_NEEDED = 5  # its place in `_Asked`

_REMEMBERED = 256
_CREATE = "create it inside the function instead of capturing it, or capture what it is made from"
_PASS = "pass what it is made from (a path, an address, numbers) and create it inside the function"


@dataclass(frozen=True, slots=True)
class Artifact:
    """Code as it is shipped.

    Attributes:
        manifest: what it is; equal for equal code, whichever program ships it.
        id: the manifest's id.
    """

    manifest: ArtifactManifest
    id: str
    _code: bytes | None = field(repr=False)
    _files: Mapping[str, bytes] = field(repr=False)

    def data(self) -> bytes:
        """The artifact's bytes: a zip file. Packed anew by each call."""
        return paths.pack(self.manifest, self._code, self._files)


@dataclass(frozen=True, slots=True)
class _Shipped:
    """The last artifact of a target, and how to see whether it is still the right one."""

    asked: _Asked
    identity: Identity | None
    files: LocalFiles
    artifact: Artifact

    def current(self, asked: _Asked) -> bool:
        unchanged = self.identity is None or self.identity.unchanged()
        return unchanged and self.asked == asked and self.files.unchanged()


class Shipper:
    """Ships code and arguments, and remembers what it shipped, so that an unchanged function costs microseconds.

    May be used from several threads.
    """

    def __init__(self) -> None:
        self._local = LocalModules()
        self._shipped: _Recent[_Shipped] = _Recent()
        self._classes: _Recent[Identity] = _Recent()
        self._needed: _Recent[frozenset[str]] = _Recent()  # local modules that a target's arguments refer to
        self._files: dict[frozenset[str], LocalFiles] = {}
        self._is_local: dict[str, bool] = {}
        self._sent: set[str] = set()  # modules whose files have travelled
        self._lock = threading.RLock()

    def ship(
        self,
        target: FunctionType | type,
        *,
        name: str,
        environment: EnvironmentRequest,
        max_concurrency: int,
        gives_routes: bool = False,
        batch: Batch | None = None,
        way: Crossing = PICKLED,
    ) -> Artifact:
        """Return the artifact of a function or class as it is now: its code, globals, closure and local modules.

        `gives_routes`: the function is none to be called, but gives what shall be served (`wire.routes.Served`).

        Classes of the caller's program that travel with it are remembered, so that results decode as their instances.

        Raises:
            NotPicklable: something that it captures cannot be pickled; the message names it.
            NotPortable: it is in no file, and no pickle may go this way.
            PayloadTooLarge: its local modules hold too much.
            ShippingError: a local module cannot be read.
        """
        with self._lock:
            kind = "routes" if gives_routes else "class" if isinstance(target, type) else "function"
            asked = (kind, name, environment, max_concurrency, batch, self._needed.get(target) or frozenset(), way)
            known = self._shipped.get(target)
            if known is None or not known.current(asked):
                known = self._build(target, asked, known)
                self._shipped.put(target, known)
            return known.artifact

    def is_current(self, target: FunctionType | type, artifact: Artifact) -> bool:
        """Whether an artifact that `ship` gave is that of a function or class as it is now, asked as the last time."""
        with self._lock:
            known = self._shipped.get(target)
            if known is None or known.artifact is not artifact:
                return False
            needed = self._needed.get(target)
            return (needed is None or needed == known.asked[_NEEDED]) and known.current(known.asked)

    def encode_arguments(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        target_name: str,
        target: Any = None,
        way: Crossing = PICKLED,
    ) -> Encoded:
        """Encode the arguments of a call; large ones are not copied: see `payload.encode_pieces`.

        Args:
            args: positional arguments.
            kwargs: arguments by name.
            target_name: what errors call the function: `infer`, `Model.predict`.
            target: the function or class that is called. Where it is given, local modules whose classes the arguments
                belong to travel with its artifact from now on, and errors tell parameters by name.
            way: whether and why they do not go as a pickle.

        Raises:
            NotPicklable: an argument cannot be pickled; the message names it.
            NotPortable: a part of an argument could travel as a pickle only, and none may go this way.
        """
        plain = None if way.neutral else payload.encode_plain(args, dict(kwargs))
        if plain is not None:
            return plain
        modules: set[str] = set()
        try:
            if way.neutral:
                found = neutral.encode((args, dict(kwargs)), self.names(way))
                encoded, modules = in_pieces(found.data), set(found.modules)
            else:
                encoded = payload.encode_pieces((args, dict(kwargs)), self.type_key, modules=modules)
        except CannotTravel as error:
            raise _not_portable(error, target_name, target, way) from error
        except Exception as error:  # the reducers of any class may raise anything
            raise self._argument_error(args, kwargs, target_name, target, error) from error
        if target is not None:
            with self._lock:
                known = self._needed.get(target) or frozenset()
                if not modules <= known:
                    self._needed.put(target, known.union(filter(self._local_name, modules)))
        return encoded

    def names(self, way: Crossing = PICKLED) -> ClassNames:
        """How this program and its workers call classes. What they name may be imported here, where it came from here.

        Those are modules that have travelled, and the standard library; what is loaded already needs no import.
        """
        return ClassNames(lambda module: module in self._sent or standard_module(module), way.script or script.name())

    def type_key(self, kind: type) -> str | None:
        """The key of a class that travels by value: equal in every process for equal code, None where it has none.

        A second run of a program meets workers that hold the classes of the first; by this key they are the same.
        """
        if not is_heap_type(kind):
            return None
        with self._lock:
            known = self._classes.get(kind)
            if known is None or not known.unchanged():
                try:
                    known = identify(kind)
                except Exception:  # noqa: BLE001 - pickling the class raises the same and names it
                    return None
                self._classes.put(kind, known)
            return known.code

    def _build(self, target: FunctionType | type, asked: _Asked, known: _Shipped | None) -> _Shipped:
        kind, name, environment, max_concurrency, batch, needed, way = asked
        if kind == "routes" and way.neutral:
            return self._named_routes(target, asked)
        entry = self._entry(target, way)
        if entry is None:
            identity = self._identify(target)
            code, modules = identity.code, identity.modules | needed
        else:
            identity = None
            code, modules = hashlib.sha256(entry.encode()).hexdigest(), needed | {entry.partition(":")[0]}
        files = self._files_of(frozenset(modules))
        self._sent.update(map(module_of, files.contents))
        manifest = ArtifactManifest(kind, name, code, environment, entry, files.hashes, max_concurrency, batch)
        artifact_id = manifest.id
        if known is not None and known.artifact.id == artifact_id:
            artifact = known.artifact
        else:
            encoded = self._encode(target) if entry is None else None
            artifact = Artifact(manifest, artifact_id, encoded, files.contents)
        for found in identity.classes if identity is not None else ():
            payload.track(found, self.type_key(found))
        return _Shipped(asked, identity, files, artifact)

    def _named_routes(self, target: Any, asked: _Asked) -> _Shipped:
        """Routes as the names of their functions and the files that have them."""
        _, name, environment, max_concurrency, batch, needed, way = asked
        modules = set(needed)

        def entry(function: Any) -> str:
            found = self._entry(function, way)
            assert found is not None
            modules.add(found.partition(":")[0])
            return found

        code = by_name(target(), entry)
        files = self._files_of(frozenset(modules))
        self._sent.update(map(module_of, files.contents))
        manifest = ArtifactManifest(
            "routes", name, hashlib.sha256(code).hexdigest(), environment, None, files.hashes, max_concurrency, batch
        )
        return _Shipped(asked, None, files, Artifact(manifest, manifest.id, code, files.contents))

    def _entry(self, target: FunctionType | type, way: Crossing) -> str | None:
        """The import path of what a local module defines, None for what must be pickled."""
        module = target.__module__
        is_local = module not in script.MAINS and self._local_name(module)
        if way.neutral:
            return crossing.entry(target, way, is_local=is_local)
        if not is_local:
            return None
        found = script.find(module, target.__qualname__)
        if found is target or getattr(found, "__flash_target__", None) is target:
            return f"{module}:{target.__qualname__}"
        return None

    def _identify(self, target: FunctionType | type) -> Identity:
        try:
            return identify(target)
        except Exception:  # noqa: BLE001 - the reducers of any class may raise anything
            modules: set[str] = set()
            encoded = self._encode(target, modules)  # says what cannot be pickled
            return Identity(hashlib.sha256(encoded).hexdigest(), frozenset(modules), (), ((_never, None, None),))

    def _encode(self, target: FunctionType | type, modules: set[str] | None = None) -> bytes:
        try:
            return payload.encode(target, self.type_key, defines=True, modules=modules)
        except Exception as error:  # the reducers of any class may raise anything
            found = culprit.find(target, payload.encode)
            told = found.told() if found is not None else str(error)
            raise NotPicklable(f"{target.__qualname__}() cannot be sent to a worker: {told}; {_CREATE}") from error

    def _files_of(self, modules: frozenset[str]) -> LocalFiles:
        known = self._files.get(modules)
        if known is None or not known.unchanged():
            if len(self._files) >= _REMEMBERED:
                self._files.clear()
            known = self._files[modules] = self._local.files(modules)
        return known

    def _local_name(self, module: str) -> bool:
        if module not in self._is_local:
            self._is_local[module] = self._local.is_local(module)
        return self._is_local[module]

    def _argument_error(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], target_name: str, target: Any, error: Exception
    ) -> NotPicklable:
        for label, value in _labelled(args, kwargs, target_name, target):
            found = culprit.find(value, payload.encode)
            if found is not None:
                advice = "pass a list of its items" if inspect.isgenerator(value) else _PASS
                return NotPicklable(f"{label} of {target_name}(): {found.told()}; {advice}")
        return NotPicklable(f"the arguments of {target_name}() cannot be sent to a worker: {error}; {_PASS}")


def _not_portable(error: CannotTravel, target_name: str, target: Any, way: Crossing) -> NotPortable:
    what, rest = crossing.argument(error.steps, _parameters(target_name, target))
    inner = CannotTravel(rest, f"of {target_name}() {error.what}")
    return crossing.not_portable(what, inner, way, _PASS)


class _Recent(Generic[V]):
    """What is known of the objects that were asked for last, by identity."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[Any, V]] = OrderedDict()  # the object is held so that its id stays its own

    def get(self, key: Any) -> V | None:
        found = self._known.get(id(key))
        if found is None:
            return None
        self._known.move_to_end(id(key))
        return found[1]

    def put(self, key: Any, value: V) -> None:
        self._known[id(key)] = (key, value)
        self._known.move_to_end(id(key))
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _never(*_: object) -> bool:
    return False


def _labelled(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], target_name: str, target: Any
) -> Iterator[tuple[str, Any]]:
    """The arguments, each as a message shall call it: by the name of its parameter, else by its position."""
    names = _parameters(target_name, target)
    for index, value in enumerate(args):
        yield (f"argument '{names[index]}'" if index < len(names) else f"argument {index + 1}"), value
    yield from ((f"argument '{name}'", value) for name, value in kwargs.items())


def _parameters(target_name: str, target: Any) -> list[str]:
    method = target_name.rpartition(".")[2] if isinstance(target, type) and "." in target_name else None
    try:
        signature = inspect.signature(getattr(target, method) if method else target)
    except (AttributeError, TypeError, ValueError):
        return []
    found = [
        name
        for name, one in signature.parameters.items()
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    unbound = method is not None and inspect.isfunction(inspect.getattr_static(target, method, None))
    return found[1:] if unbound else found


_shipper = Shipper()  # the program's memory, as the classes that pickling recognises are the program's; empty at first
ship = _shipper.ship
is_current = _shipper.is_current
encode_arguments = _shipper.encode_arguments
names = _shipper.names
