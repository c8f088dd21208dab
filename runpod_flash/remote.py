"""What the decorator gives back: a function, a class and its objects and methods, each with the same call forms.

await f(x)       on the caller's own event loop          f.spawn(x)   at once: a job to ask later
f.remote(x)      blocking, from anywhere                 f.local(x)   here, without any platform
f.map(xs)        one call for each, several at a time    f.with_options(timeout=5)   the same with other options
f.stream(x)      the items of a generator, as they come
"""

import functools
import inspect
import sys
import types
import weakref
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, cast

from runpod_flash import batches, lazy, settings, signatures
from runpod_flash.call_options import AS_DECLARED, CallOptions
from runpod_flash.calls import RemoteObject, Request, Ticket
from runpod_flash.duals import Dual, dual
from runpod_flash.errors import CallError
from runpod_flash.forms import Forms
from runpod_flash.generators import for_value, is_generator
from runpod_flash.signatures import Parameters
from runpod_flash.spec import EndpointSpec

if TYPE_CHECKING:
    from runpod_flash.agreement import Provisioned
    from runpod_flash.job import EndpointJob
    from runpod_flash.session import Session
    from runpod_flash.streams import Stream

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
X = TypeVar("X")

_MISSING = object()


class CallForms(Forms[P, R]):
    """The ways to call something remote."""

    # Coroutine[None, None, R], not [Any, Any, R]: with the latter mypy takes the results of asyncio.gather for Any.

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, R]:
        """Run it on a worker; await the result. Cancelling the awaiting task cancels the job.

        Raises:
            CallError: the arguments do not fit the signature (at once, before anything is sent).
        """
        coroutine = cast("types.CoroutineType[None, None, R]", _run(for_value(self._request(args, kwargs))))
        coroutine.__name__ = coroutine.__qualname__ = self.__name__  # for "… was never awaited"
        return coroutine

    def remote(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it on a worker and block until the result is there; works where an event loop runs, too (a notebook)."""
        return cast(R, _session().call_blocking(for_value(self._request(args, kwargs))))

    @property
    def spawn(self) -> "Spawn[P, R]":
        """`spawn(x)` submits the call and gives an `EndpointJob` at once; in async code, `await spawn.aio(x)`."""
        return Spawn(self)


class Spawn(Generic[P, R]):
    """Submits a call without waiting for its result. The job is durable: it outlives this program."""

    def __init__(self, forms: CallForms[P, R]) -> None:
        self._forms = forms

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> "EndpointJob[R]":
        """Submit the call, blocking until the platform has it."""
        session = _session()
        return _job(session.submit_blocking(self._forms._request(args, kwargs)), session)

    def aio(self, /, *args: P.args, **kwargs: P.kwargs) -> "Coroutine[None, None, EndpointJob[R]]":
        """Submit the call from async code."""
        return self._submit(self._forms._request(args, kwargs))

    async def _submit(self, request: Request) -> "EndpointJob[R]":
        session = _session()
        return _job(await session.submit(request), session)


class _OnEndpoint:
    """What an endpoint was declared for: a function or a class."""

    spec: EndpointSpec
    __flash_target__: Any

    @dual
    async def provision(self) -> "Provisioned":
        """Find its endpoint, change it or make it, without a call. See `Endpoint.provision`."""
        return await self._session.provision(self.spec, self.__flash_target__)

    @property
    def _session(self) -> "Session":
        return _session()


class RemoteFunction(_OnEndpoint, CallForms[P, R]):
    """A function whose calls run on the workers of its endpoint.

    Attributes:
        spec: the endpoint, as agreed.
        __flash_target__: the original function; `__wrapped__` is the same.
        __remote_config__: what tools read: the spec and the dependencies.
    """

    def __init__(self, target: types.FunctionType, spec: EndpointSpec) -> None:
        functools.update_wrapper(self, target)
        self.spec = spec
        self.__flash_target__ = target
        self.__remote_config__: dict[str, Any] = remote_config(spec)
        self._streams: bool = is_generator(target)
        if not self._streams:
            signatures.mark_as_coroutine_function(self)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, R]:
        """Run it on a worker; await the result. See `CallForms.__call__`."""
        if settings.serving.get() == self.spec.name:  # this is its worker, inside the caller's process
            return cast("Coroutine[None, None, R]", self.__flash_target__(*args, **kwargs))
        return super().__call__(*args, **kwargs)

    def local(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the original function here, as if it had no decorator; a batched one as a batch of one."""
        if self.spec.batch is not None:
            return cast(R, batches.one_call(self.__flash_target__, _known(self._parameters), args, kwargs))
        return cast(R, self.__flash_target__(*args, **kwargs))

    @property
    def id(self) -> str | None:
        """The id of its endpoint on the platform; None before the first call or `provision`."""
        found = provisioned(self.spec.name)
        return None if found is None else found.id

    @property
    def url(self) -> str | None:
        """Where the requests of its endpoint go; None as for `id`."""
        found = provisioned(self.spec.name)
        return (found.url or None) if found is not None else None

    def job(self, job_id: str) -> "EndpointJob[R]":
        """The handle of a job that was submitted earlier, maybe by another program."""
        return handle(self.spec.name, job_id)

    @property
    def recover(self) -> "Dual[[], list[EndpointJob[R]]]":
        """`recover()` gives the jobs that this project's programs have submitted to the endpoint, the oldest first.

        See `Endpoint.recover`.
        """
        return recovery(self.spec.name)

    @property
    def _spec(self) -> EndpointSpec:
        return self.spec

    def _request(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Request:
        signatures.check(self.__name__, self._parameters, args, kwargs)
        if self.spec.batch is not None:
            args, kwargs = batches.as_positional(_known(self._parameters), args, kwargs), {}
        options = self._options
        return Request(
            self.__flash_target__, self.spec, args, kwargs, None, None, options.job, options.retries, self._streams
        )

    @functools.cached_property
    def _parameters(self) -> Parameters | None:
        return signatures.of_function(self.__flash_target__)

    def __repr__(self) -> str:
        options = f" with {self._options}" if self._options != AS_DECLARED else ""
        return f"<remote function {self.__qualname__} on endpoint {self.spec.name!r}{options}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteFunction) and self._options == other._options and _same(self, other)

    def __hash__(self) -> int:
        return hash((self.__module__, self.__qualname__))

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self._options != AS_DECLARED:
            declared = _declared(self) or self._with(AS_DECLARED)
            return _rebuild_with_options, (declared, self._options)
        return _by_name(self) or (_rebuild_function, (self.__flash_target__, self.spec))


class AsyncRemoteFunction(RemoteFunction[P, R]):
    """A `RemoteFunction` made of an `async def`; `local` gives its coroutine."""

    def local(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, R]:  # type: ignore[override]
        """Run the original function here: returns its coroutine, to be awaited."""
        return cast("Coroutine[None, None, R]", super().local(*args, **kwargs))


class RemoteGenerator(RemoteFunction[P, R], Generic[P, R, X]):
    """A `RemoteFunction` made of a generator, which has items and no value; `local` gives the generator itself."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> NoReturn:
        """Refused; see `stream`."""
        return super().__call__(*args, **kwargs)  # type: ignore[misc]  # on its own worker it gives the generator

    def remote(self, /, *args: P.args, **kwargs: P.kwargs) -> NoReturn:
        """Refused; see `stream`."""
        super().remote(*args, **kwargs)
        raise AssertionError("unreachable")

    def stream(self, /, *args: P.args, **kwargs: P.kwargs) -> "Stream[X]":
        """The items that it yields on a worker, as they come; see `CallForms.stream`."""
        return super().stream(*args, **kwargs)


class RemoteClass(_OnEndpoint, Generic[T]):
    """A class whose objects live on the workers of its endpoint. Calling it makes a `RemoteInstance` and sends nothing.

    Constants, static methods and class methods can be reached through it and run here.
    """

    def __init__(self, target: type[T], spec: EndpointSpec) -> None:
        functools.update_wrapper(self, target, updated=())
        self.spec = spec
        self.__flash_target__ = target
        self.__remote_config__: dict[str, Any] = remote_config(spec)

    def __call__(self, /, *args: Any, **kwargs: Any) -> "RemoteInstance[T]":
        """Make an object. Raises CallError where the arguments do not fit `__init__`."""
        if settings.serving.get() == self.spec.name:  # this is its worker, inside the caller's process
            return cast("RemoteInstance[T]", self.__flash_target__(*args, **kwargs))
        signatures.check(self.__name__, self._parameters, args, kwargs)
        return RemoteInstance(self, RemoteObject(args, kwargs))

    def local(self, /, *args: Any, **kwargs: Any) -> T:
        """Make a real object of the original class, here."""
        return cast(T, self.__flash_target__(*args, **kwargs))

    def job(self, job_id: str) -> "EndpointJob[Any]":
        """The handle of a job that was submitted earlier, maybe by another program."""
        return handle(self.spec.name, job_id)

    @functools.cached_property
    def _parameters(self) -> Parameters | None:
        return signatures.of_class(self.__flash_target__)

    @functools.cached_property
    def _methods(self) -> "dict[str, Parameters | None]":
        """Those of the methods that were called, by their names."""
        return {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(
                f"remote class {self.__name__} does not show '{name}'; names with an underscore stay on the worker"
            )
        found = _defined(self.__flash_target__, name)
        if found is _MISSING:
            raise AttributeError(_unknown(self, name))
        if inspect.isfunction(found) or isinstance(found, property):
            raise AttributeError(
                f"'{name}' belongs to objects of {self.__name__}; make one first: {self.__name__}(…).{name}"
            )
        return getattr(self.__flash_target__, name)

    def __repr__(self) -> str:
        return f"<remote class {self.__qualname__} on endpoint {self.spec.name!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteClass) and _same(self, other)

    def __hash__(self) -> int:
        return hash((self.__module__, self.__qualname__))

    def __reduce__(self) -> str | tuple[Any, ...]:
        return _by_name(self) or (_rebuild_class, (self.__flash_target__, self.spec))


class RemoteInstance(Generic[T]):
    """An object that lives on one worker: `await obj.method(x)`, `obj.method.remote(x)`, `obj.method.spawn(x)`.

    Type checkers know the class, not its methods, as types cannot be mapped: `predict: CallForms[[int], str] =
    obj.predict` tells them what one takes and gives.

    It is made by its first call. It is dropped, so that its `close()` or `__exit__` runs there, when this handle is
    closed or forgotten, or the program ends. A lost object is made again from its constructor's arguments.
    """

    def __init__(self, kind: RemoteClass[T], handle: RemoteObject) -> None:
        self._kind = kind
        self._handle = handle
        self._drop = weakref.finalize(self, _forget, handle)
        self._drop.atexit = False  # the session does it, for all objects at once
        for name in ("close", "aclose"):
            if inspect.isfunction(_defined(kind.__flash_target__, name)):
                self.__dict__[name] = self.__getattr__(name)  # the class's own method comes first

    def __getattr__(self, name: str) -> Any:
        kind = self.__dict__.get("_kind")
        if kind is None or name.startswith("_"):
            raise AttributeError(
                f"'{name}' of a remote object stays on the worker; names with an underscore in front cannot be reached"
            )
        target = kind.__flash_target__
        found = _defined(target, name)
        if found is _MISSING:
            raise AttributeError(_unknown(kind, name))
        if signatures.is_method(found):
            return RemoteMethod(self, name)
        if isinstance(found, property | functools.cached_property):
            raise AttributeError(
                f"'{name}' is a property, whose value is on the worker; give {kind.__name__} a method that returns it"
            )
        return getattr(target, name)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Coroutine[None, None, Any]:
        """Call the object's own `__call__` on the worker. Raises CallError where the class has none."""
        if _defined(self._kind.__flash_target__, "__call__") is _MISSING:
            raise CallError(f"objects of {self._kind.__name__} cannot be called: the class has no __call__ method")
        return RemoteMethod(self, "__call__")(*args, **kwargs)

    def close(self) -> None:
        """Drop the object: its `close()` or `__exit__` runs on the worker. Does not wait for that."""
        self._drop()

    async def aclose(self) -> None:
        """Drop the object and wait until the platform knows."""
        if self._drop.detach() and self._handle.session is not None and not self._handle.borrowed:
            await self._handle.session.drop(self._handle.id)

    def __enter__(self) -> "RemoteInstance[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    async def __aenter__(self) -> "RemoteInstance[T]":
        return self

    async def __aexit__(self, *_: object) -> None:
        await RemoteInstance.aclose(self)

    def __repr__(self) -> str:
        return f"<remote object {self._handle.id[:8]} of {self._kind.__qualname__}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_instance, (self._kind, self._handle.args, self._handle.kwargs, self._handle.id)


class RemoteMethod(CallForms[..., Any]):
    """A method of a remote object, with the same call forms as a `RemoteFunction`."""

    def __init__(self, instance: RemoteInstance[Any], name: str) -> None:
        self._instance = instance
        self._method: str = name  # the function may call itself otherwise
        self.__name__ = name
        function = getattr(instance._kind.__flash_target__, name)
        functools.update_wrapper(self, function, updated=())
        if not is_generator(function):
            signatures.mark_as_coroutine_function(self)

    @property
    def _spec(self) -> EndpointSpec:
        return self._instance._kind.spec

    def _request(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Request:
        kind, name = self._instance._kind, self._method
        signatures.check(f"{kind.__name__}.{name}", self._parameters, args, kwargs)
        if kind.spec.batch is not None:
            args, kwargs = batches.as_positional(_known(self._parameters), args, kwargs), {}
        target, options, instance = kind.__flash_target__, self._options, self._instance._handle
        streams = is_generator(getattr(target, name))
        return Request(target, kind.spec, args, kwargs, name, instance, options.job, options.retries, streams)

    @property
    def _parameters(self) -> Parameters | None:
        kind, name = self._instance._kind, self._method
        if name not in kind._methods:
            target = kind.__flash_target__
            kind._methods[name] = signatures.of_method(target, name, _defined(target, name))
        return kind._methods[name]

    def __repr__(self) -> str:
        return f"<remote method {self._method} of {self._instance!r}>"


def _known(parameters: Parameters | None) -> inspect.Signature:
    assert parameters is not None, "what is batched tells its parameters, or it was refused when it was declared"
    return parameters.of_callers


def handle(name: str, job_id: str, endpoint_id: str = "") -> "EndpointJob[Any]":
    """The handle of a job of the endpoint of this name, whose id may be known."""
    return _job(Ticket(job_id, endpoint_id, name), _session())


def provisioned(name: str) -> "Provisioned | None":
    """The endpoint of this name as the platform has it; None before the first call of this program."""
    return _session().provisioned(name)


def recovery(name: str) -> "Dual[[], list[EndpointJob[Any]]]":
    """What gives the jobs that were submitted to the endpoint of this name."""
    return cast("Dual[[], list[EndpointJob[Any]]]", lazy.load("runpod_flash.job").recovery(name, _session()))


def remote_config(spec: EndpointSpec) -> dict[str, Any]:
    """What `__remote_config__` of a decorated object holds."""
    config: dict[str, Any] = {
        "resource_config": spec,
        "method": None,
        "path": None,
        "dependencies": list(spec.dependencies) or None,
        "system_dependencies": list(spec.system_dependencies) or None,
    }
    return {**config, "max_concurrency": spec.max_concurrency} if spec.max_concurrency > 1 else config


def make_remote(target: Any, spec: EndpointSpec) -> Any:
    """The remote function or class for `target`; on a worker of this endpoint, `target` itself."""
    if settings.served_here(spec.name):
        return target
    if inspect.isclass(target):
        return RemoteClass(target, spec)
    if is_generator(target):
        return RemoteGenerator(target, spec)
    return AsyncRemoteFunction(target, spec) if inspect.iscoroutinefunction(target) else RemoteFunction(target, spec)


_rebuild_function = _rebuild_class = make_remote  # what pickles of remote functions and classes call


def _rebuild_with_options(function: Any, options: CallOptions) -> Any:
    # On the endpoint's own worker it is the original function, which runs there without options.
    return function._with(options) if isinstance(function, CallForms) else function


def _rebuild_instance(kind: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], instance_id: str) -> Any:
    if not isinstance(kind, RemoteClass):
        return kind(*args, **kwargs)  # on the endpoint's own worker: an object of the original class
    return RemoteInstance(kind, RemoteObject(args, kwargs, instance_id, borrowed=True))


async def _run(request: Request) -> Any:
    return await _session().call(request)


def _session() -> "Session":
    return cast("Session", lazy.load("runpod_flash.plane_start").session())


def _job(ticket: Ticket, session: "Session") -> "EndpointJob[Any]":
    return cast("EndpointJob[Any]", lazy.load("runpod_flash.job").EndpointJob(ticket, session))


def _forget(handle: RemoteObject) -> None:
    if handle.session is not None and not handle.borrowed:
        handle.session.drop_later(handle.id)


def _same(one: Any, other: Any) -> bool:
    if one.spec != other.spec or (one.__module__, one.__qualname__) != (other.__module__, other.__qualname__):
        return False
    mine, theirs = one.__flash_target__, other.__flash_target__
    return mine is theirs or getattr(mine, "__code__", mine) == getattr(theirs, "__code__", theirs)


def _by_name(remote: Any) -> str | None:
    """The name under which a pickle can refer to this very object, None where it must travel by value."""
    return remote.__qualname__ if _found_by_name(remote) is remote else None


def _declared(function: RemoteFunction[Any, Any]) -> Any:
    """The object with the declared options that this function was made of, where its module has it; else None."""
    found = _found_by_name(function)
    target = function.__flash_target__
    return found if isinstance(found, RemoteFunction) and found.__flash_target__ is target else None


def _found_by_name(remote: Any) -> Any:
    """What an importable module has under the object's name."""
    found: Any = sys.modules.get(remote.__module__)
    if remote.__module__ == "__main__" or found is None:
        return None
    for part in remote.__qualname__.split("."):
        found = getattr(found, part, None)
    return found


def _defined(kind: type, name: str) -> Any:
    """What a class or one of its bases defines under a name, as it was written; `_MISSING` where none does."""
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), _MISSING)


def _unknown(kind: RemoteClass[Any], name: str) -> str:
    names = [known for known in dir(kind.__flash_target__) if not known.startswith("_")]
    close: list[str] = lazy.load("difflib").get_close_matches(name, names, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(names) or 'none'}"
    return f"remote class {kind.__name__} has no method '{name}'; {hint}"
