"""One call: bytes in, outcome out. Whatever user code does becomes an `Outcome`; nothing here reads or writes streams.

artifacts = Artifacts(); artifacts.add(id, manifest, code)
execution = Execution(call, values, artifacts, instances)
outcome = await run(execution, pool)          # or load(), then run() / run_async() by hand, as the worker does
"""

import asyncio
import functools
import importlib
import inspect
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

from worker_runtime.failures import Failed, cannot_travel, describe, load_failure, script_failure, unpicklable
from worker_runtime.instances import Instances, Name, Shared, TooManyInstances
from worker_runtime.plain_calls import Taken, needs_nothing
from worker_runtime.plain_calls import arguments as plain_arguments
from worker_runtime.streaming import Collecting, Sink, drain, drain_async, is_stream
from worker_runtime.wire import encoding, payload
from worker_runtime.wire.batch import Batch
from worker_runtime.wire.class_names import SCRIPT
from worker_runtime.wire.errors import CannotTravel, PicklesRefused, WireError
from worker_runtime.wire.interface import Interface
from worker_runtime.wire.jobs import PLAIN_LIMIT, Call, ErrorInfo, ErrorKind, Payload
from worker_runtime.wire.pieces import Encoded, Part
from worker_runtime.wire.specs import ArtifactManifest

KEPT = 16
"""How many loaded artifacts are kept: functions with their globals, so a model cached in a global lives on."""

Group = tuple[str, str | None, Name | None]
"""What calls have in common that one call of a function can serve: artifact, method and object."""

TARGET = "__flash_target__"
"""Attribute of the SDK's decorated objects: the function or class that was decorated."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The encoded result, or the error."""

    value: Encoded = b""
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class _Artifact:
    manifest: ArtifactManifest
    code: bytes


class Values(Protocol):
    """Where the values lie that a call names."""

    def __getitem__(self, name: str, /) -> Part:
        """The bytes of one. Raises KeyError."""


class Artifacts:
    """Shipped functions and classes by artifact id. May be used from several threads."""

    def __init__(self, kept: int = KEPT, *, pickles: bool = True) -> None:
        """`pickles`: whether any may be loaded, of code or of values."""
        self.pickles = pickles
        self._kept = kept
        self._shipped: dict[str, _Artifact] = {}
        self._loaded: OrderedDict[str, Any] = OrderedDict()
        self._asynchronous: dict[tuple[str, str | None], bool] = {}  # of what is loaded, by its methods
        self._taken: dict[str, dict[str | None, Taken]] = {}  # the same, of what plain calls fill
        self._lock = threading.RLock()

    def add(self, artifact: str, manifest: ArtifactManifest, code: bytes | None) -> None:
        """Make an artifact known; it is loaded by its first call. Its local modules must be importable by then."""
        self._shipped[artifact] = _Artifact(manifest, code or b"")

    def forget(self, artifact: str) -> None:
        """Let go of an artifact that no call needs; it may be added again."""
        with self._lock:
            self._shipped.pop(artifact, None)
            self._unload(artifact)

    def name(self, artifact: str) -> str:
        """The user's name for the function or class."""
        shipped = self._shipped.get(artifact)
        return shipped.manifest.name if shipped is not None else "the function"

    def interface(self, artifact: str) -> Interface | None:
        """What plain JSON its calls take; None where it was not built for that."""
        shipped = self._shipped.get(artifact)
        return None if shipped is None else shipped.manifest.interface

    def batch(self, artifact: str) -> tuple[Batch, int] | None:
        """How its calls are batched, and how many batches run at a time; None where they are not."""
        shipped = self._shipped.get(artifact)
        batch = None if shipped is None else shipped.manifest.batch
        if shipped is None or batch is None:
            return None
        return batch, max(1, shipped.manifest.max_concurrency // batch.max_size)

    def load(self, artifact: str) -> Any:
        """The function or class itself. Raises Failed."""
        with self._lock:
            if artifact not in self._loaded:
                self._loaded[artifact] = self._load(artifact)
                while len(self._loaded) > self._kept:
                    self._unload(next(iter(self._loaded)))
            self._loaded.move_to_end(artifact)
            return self._loaded[artifact]

    def is_async(self, artifact: str, method: str | None) -> bool:
        """Whether calling it, or the method of a class, gives what a loop runs; it was loaded."""
        known = self._asynchronous.get((artifact, method))
        if known is None:
            target = self.load(artifact)
            known = is_async(getattr(target, method, None) if method is not None else target)
            self._asynchronous[artifact, method] = known
        return known

    def taken(self, artifact: str) -> dict[str | None, Taken]:
        """What plain calls were seen to fill, by method; it was loaded."""
        return self._taken.setdefault(artifact, {})

    def _unload(self, artifact: str) -> None:
        self._taken.pop(artifact, None)
        self._loaded.pop(artifact, None)
        for known in [known for known in self._asynchronous if known[0] == artifact]:
            del self._asynchronous[known]

    def _load(self, artifact: str) -> Any:
        shipped = self._shipped.get(artifact)
        if shipped is None:
            raise Failed(load_failure("the code", LookupError(f"artifact {artifact} was not sent to this worker")))
        module, _, path = (shipped.manifest.entry or "").partition(":")
        try:
            if module:
                target = operator.attrgetter(path)(importlib.import_module(module))
            elif self.pickles:
                target = payload.decode(shipped.code)
            else:
                raise PicklesRefused("it is a pickle, and this platform loads no pickles of yours")
            return getattr(target, TARGET, target)
        except BaseException as error:  # noqa: BLE001 - the user's module runs here, and may call sys.exit
            told = script_failure if module == SCRIPT else load_failure
            raise Failed(told(f"the code of '{shipped.manifest.name}'", error)) from None


class Execution:
    """One call on its way. First `load`, then `run` or, where `load` said so, `run_async`.

    Attributes:
        name: what the user calls the function or method.

    Args:
        sink: where the items of a generator go, for a call that asks for its stream, or came as plain JSON.
    """

    def __init__(
        self,
        call: Call,
        values: Values,
        artifacts: Artifacts,
        instances: Instances,
        sink: Sink | None = None,
    ) -> None:
        self._call, self._values, self._artifacts, self._instances = call, values, artifacts, instances
        self._sink: Sink | None = sink if call.stream else None
        self._collecting = Collecting(sink, PLAIN_LIMIT) if call.plain and sink is not None else None
        self.name = artifacts.name(call.artifact) + (f".{call.method}" if call.method else "")
        self._target: Any = None
        self._peer = encoding.PLAIN if call.plain else encoding.PICKLES

    @property
    def group(self) -> "Group":
        """Which calls one call of the function could serve together with this one."""
        return self._call.artifact, self._call.method, self._object

    @property
    def _object(self) -> Name | None:
        """The object whose method is called; None where it is a function, or the class's own."""
        if self._call.instance is not None:
            return self._call.instance.id
        is_shared = (self._call.plain and self._call.method is not None) or (
            self._call.check and isinstance(self._target, type) and needs_nothing(self._target)
        )
        return Shared(self._call.artifact) if is_shared else None

    def load(self) -> bool:
        """Load the code; whether what shall be called is asynchronous. Raises Failed."""
        self._target = self._artifacts.load(self._call.artifact)
        if self._call.check:
            return False
        return self._artifacts.is_async(self._call.artifact, self._call.method)

    def run(self) -> Outcome | Coroutine[Any, Any, Outcome]:
        """Call it in this thread. A plain function that gives a coroutine: the rest, to be awaited."""
        try:
            if self._call.check:
                self._own()
                return Outcome()
            function = self.function()
            args, kwargs = self.arguments()
            value = function(*args, **kwargs)
            if (sink := self._outlet) is not None and inspect.isgenerator(value):
                drain(self.name, value, sink, self._peer)
                return self._drained()
        except Failed as failed:
            return Outcome(error=failed.info)
        except BaseException as error:  # noqa: BLE001 - user code may raise anything, sys.exit included
            return Outcome(error=describe(error, peer=self._peer))
        if inspect.iscoroutine(value):
            return self._awaited(value)
        return self.encode(value)

    async def run_async(self) -> Outcome:
        """Call it on the running loop."""
        try:
            function = await self.function_async()
            args, kwargs = self.arguments()
            value = function(*args, **kwargs)
            if (sink := self._outlet) is not None and inspect.isasyncgen(value):
                await drain_async(self.name, value, sink, self._peer)
                return self._drained()
            value = await value if inspect.isawaitable(value) else value
        except Failed as failed:
            return Outcome(error=failed.info)
        except BaseException as error:  # noqa: BLE001 - user code may raise anything, sys.exit included
            return Outcome(error=describe(error, peer=self._peer))
        return self.encode(value)

    @property
    def _outlet(self) -> Sink | None:
        return self._sink or self._collecting

    def _drained(self) -> Outcome:
        """The outcome of a generator whose items are all on their way."""
        return Outcome() if self._collecting is None else Outcome(self._collecting.whole)

    async def _awaited(self, rest: Coroutine[Any, Any, Any]) -> Outcome:
        try:
            value = await rest
        except BaseException as error:  # noqa: BLE001 - user code may raise anything, sys.exit included
            return Outcome(error=describe(error, peer=self._peer))
        return self.encode(value)

    def failed(self, error: BaseException) -> Outcome:
        """The outcome of a call that raised."""
        return Outcome(error=error.info if isinstance(error, Failed) else describe(error, peer=self._peer))

    def function(self) -> Callable[..., Any]:
        """What shall be called: after `load`, in this thread. Raises Failed, and what a constructor raises."""
        return self._bind(self._own())

    async def function_async(self) -> Callable[..., Any]:
        """As `function`, on the running loop."""
        return self._bind(await self._own_async())

    def _own(self) -> Any:
        """The object that is called or has the method: the function, the class or an instance."""
        own = self._object
        if own is None:
            return self._target
        try:
            return self._instances.get(own, self._construct)
        except TooManyInstances as error:
            raise Failed(load_failure(f"an instance of '{self._target.__name__}'", error)) from None

    async def _own_async(self) -> Any:
        own = self._object
        if own is None:
            return self._target
        try:
            return await self._instances.get_async(own, self._construct)
        except TooManyInstances as error:
            raise Failed(load_failure(f"an instance of '{self._target.__name__}'", error)) from None

    def _construct(self) -> Any:
        if self._call.instance is None:
            return self._construct_shared()
        what = f"the constructor arguments of '{self._target.__name__}'"
        args, kwargs = self._decode(self._call.instance.constructor, what)
        return self._target(*args, **kwargs)

    def _construct_shared(self) -> Any:
        if not needs_nothing(self._target):
            words = (
                f"class '{self._target.__name__}' cannot be made without arguments, and plain calls share an object "
                "that is made so; give its parameters defaults, or call it from Python"
            )
            raise Failed(ErrorInfo(ErrorKind.LOAD, "CallError", words))
        return self._target()

    def _bind(self, own: Any) -> Callable[..., Any]:
        function: Callable[..., Any] = own if self._call.method is None else getattr(own, self._call.method)
        return function

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The decoded (args, kwargs). Raises Failed."""
        what = f"the arguments of '{self.name}'"
        return self._plain_arguments(what) if self._call.plain else self._decode(self._call.arguments, what)

    def _plain_arguments(self, what: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        artifact, data = self._call.artifact, bytes(self._encoded(self._call.arguments, what))
        in_batch = self._artifacts.batch(artifact) is not None
        target, known = self._artifacts.load(artifact), self._artifacts.taken(artifact)
        try:
            return plain_arguments(target, self._artifacts.interface(artifact), data, by_place=in_batch, known=known)
        except WireError as error:
            raise Failed(ErrorInfo(ErrorKind.LOAD, "CallError", str(error))) from None

    def _encoded(self, data: Payload, what: str) -> Part:
        try:
            return data.inline if data.inline is not None else self._values[data.name or ""]
        except KeyError as missing:
            error = LookupError(f"value {data.name} was not sent with the call ({missing})")
            raise Failed(load_failure(what, error)) from None

    def _decode(self, data: Payload, what: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        encoded = self._encoded(data, what)
        try:
            self._peer = encoding.peer_of(encoded)
            args, kwargs = encoding.decode(encoded, encoding.ON_WORKERS, pickles=self._artifacts.pickles)
        except Exception as error:  # noqa: BLE001 - classes of the user's are rebuilt here, with their own code
            raise Failed(load_failure(what, error)) from None
        return args, kwargs

    def encode(self, value: Any) -> Outcome:
        """The outcome of a call that gave this value."""
        if self._sink is not None and not is_stream(value):
            text = f"'{self.name}' gave no generator but {type(value).__name__}, so that there is nothing to stream"
            return Outcome(error=describe(TypeError(text), peer=self._peer))
        try:
            return Outcome(self._peer.encode_pieces(value) if not self._call.inline else self._peer.encode(value))
        except CannotTravel as error:
            return Outcome(error=cannot_travel(self.name, error, self._peer))
        except Exception as error:  # noqa: BLE001 - pickling runs the user's own __reduce__
            return Outcome(error=unpicklable(self.name, value, error, self._peer))


async def run(execution: Execution, pool: Executor | None = None) -> Outcome:
    """Run a whole call on the running loop; plain functions in a thread of `pool` (None: the loop's own)."""
    try:
        asynchronous = execution.load()
    except Failed as failed:
        return Outcome(error=failed.info)
    if asynchronous:
        return await execution.run_async()
    outcome = await asyncio.get_running_loop().run_in_executor(pool, execution.run)
    return await outcome if inspect.iscoroutine(outcome) else outcome  # type: ignore[return-value]


def is_async(function: Any) -> bool:
    """Whether calling it gives what a loop runs, as far as can be told without calling it."""
    while isinstance(function, functools.partial):
        function = function.func
    if _runs_on_loop(function):
        return True
    if isinstance(function, type):
        return False
    return _runs_on_loop(getattr(type(function), "__call__", None))  # noqa: B004 - wanted is the method


def _runs_on_loop(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
