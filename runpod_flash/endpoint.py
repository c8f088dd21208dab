"""`Endpoint`: the declaration of a named place where a function or class runs, and the decorator that puts it there."""

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Never, NoReturn, ParamSpec, TypeVar, overload

from runpod_flash import batches, options
from runpod_flash.client import ClientVerbs, Located
from runpod_flash.duals import dual
from runpod_flash.errors import ConfigError, EndpointNotFound
from runpod_flash.hardware import CudaVersion, ServerlessScalerType, ServerlessType
from runpod_flash.options import CpuOption, DataCenterOption, GpuOption
from runpod_flash.remote import (
    AsyncRemoteFunction,
    RemoteClass,
    RemoteFunction,
    RemoteGenerator,
    RemoteInstance,
    RemoteMethod,
    handle,
    make_remote,
    provisioned,
    recovery,
)
from runpod_flash.retries import Retries
from runpod_flash.routes import RouteTable, check_path
from runpod_flash.spec import DEFAULT_SCALER_VALUE, EndpointSpec
from runpod_flash.template import PodTemplate
from runpod_flash.volumes import NetworkVolume
from worker_runtime.wire.methods import WEBSOCKET

if TYPE_CHECKING:
    from runpod_flash.agreement import Provisioned
    from runpod_flash.duals import Dual
    from runpod_flash.job import EndpointJob
    from runpod_flash.web import WebRequest

A = TypeVar("A")
B = TypeVar("B")
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
X = TypeVar("X")
F = TypeVar("F", bound=Callable[..., Any])

_KINDS = {ServerlessType.QB: "jobs (run, runsync)", ServerlessType.LB: "HTTP requests (get, post …)"}


class Endpoint(ClientVerbs):
    """Declares an endpoint; as a decorator, puts a function or class on it. Nothing is sent before the first call.

        @Endpoint(cpu="cpu3c-2-4", dependencies=["numpy"])
        def mean(values): ...

    As an instance, it serves routes over HTTP, and sends requests to them: see docs/routes.md.

        api = Endpoint(name="texts")
        @api.post("/words")
        def words(text: str): ...
        counts = await api.post("/words", {"text": "a b"})

    With `id`, it is a client of an endpoint that is there already, whatever runs on it: see `ClientVerbs`.

        job = await Endpoint(id="abc123").run({"prompt": "hello"})

    Args:
        name: name of the endpoint, unique in the project; default: the name of the decorated object.
        id: id of an endpoint that is there already; goes with no other option but `name`, which is then a label.
        gpu: acceptable GPUs, the best first: groups, types or their names. Default without `cpu`: any.
        cpu: acceptable CPU instances; excludes `gpu`.
        workers: the most workers, or (least, most). Default: (0, 1).
        idle_timeout: seconds without work after which a worker above the least stops, 1 to 3600.
        dependencies: requirements (PEP 508) that the workers install.
        system_dependencies: apt packages that the workers need.
        accelerate_downloads: whether workers may use faster installers.
        volume: network volumes that workers see at /runpod-volume: one, or one for each data center.
        datacenter: where workers may run (Runpod's cloud).
        env: environment variables of the workers. A change rolls the workers, not the endpoint.
        gpu_count: GPUs for each worker.
        execution_timeout_ms: longest run of one call in milliseconds; 0: no limit.
        flashboot: whether workers may start from a snapshot (Runpod's cloud).
        image: container image whose workers answer jobs or HTTP requests; needs a name. The object is then a client.
        scaler_type: what the number of workers follows. Default: how long jobs wait.
        scaler_value: seconds of waiting, or jobs per worker. Default: the platform's choice.
        template: how containers are started, variables of the workers among it.
        min_cuda_version: oldest CUDA version that the driver must support; None: any.
        max_concurrency: calls that run at a time in one worker.
        python_version: the workers' Python, "3.11" … "3.13"; default: the caller's. To another one no pickles travel:
            see docs/python-versions.md.
        retries: None: a lost worker once, an exception of the function never; n: both up to n times, at once;
            `Retries(…)`: with pauses, and after exceptions of chosen types only.
        batch: (max_size, max_wait_ms): calls of different callers become one call of the function, which takes lists
            and returns one; see `batched`, which type checkers understand.
        preload: modules that may be imported once, before workers are forked, such as "torch". What a function was seen
            to import is added by itself.

    Attributes:
        spec: the checked description; `name` is "" where the decorated object will give it.

    The options can be read as attributes; they cannot be changed.

    Raises:
        ConfigError, UnknownOption: an option is wrong.
    """

    name: str | None
    idle_timeout: int
    dependencies: list[str] | None
    system_dependencies: list[str] | None
    accelerate_downloads: bool
    volume: list[NetworkVolume] | None
    datacenter: list[Any] | None
    env: dict[str, str] | None
    gpu_count: int
    execution_timeout_ms: int
    flashboot: bool
    image: str | None
    scaler_value: float
    template: PodTemplate | None
    min_cuda_version: CudaVersion | None
    max_concurrency: int
    python_version: str
    retries: int | Retries | None
    batch: tuple[int, int] | None
    preload: list[str] | None
    workers_min: int
    workers_max: int
    is_cpu: bool
    is_client: bool
    spec: EndpointSpec
    _table: RouteTable
    _given_id: str | None
    _kind: ServerlessType | None  # of an image, when it is known

    def __init__(
        self,
        name: str | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the public API's own word
        gpu: GpuOption | None = None,
        cpu: CpuOption | None = None,
        workers: int | tuple[int, int] | None = None,
        idle_timeout: int = 60,
        dependencies: Sequence[str] | None = None,
        system_dependencies: Sequence[str] | None = None,
        accelerate_downloads: bool = True,
        volume: NetworkVolume | Sequence[NetworkVolume] | None = None,
        datacenter: DataCenterOption | None = None,
        env: Mapping[str, str] | None = None,
        gpu_count: int = 1,
        execution_timeout_ms: int = 0,
        flashboot: bool = True,
        image: str | None = None,
        scaler_type: ServerlessScalerType | None = None,
        scaler_value: float | None = None,
        template: PodTemplate | None = None,
        min_cuda_version: CudaVersion | str | None = CudaVersion.V12_8,
        max_concurrency: int = 1,
        python_version: str | None = None,
        retries: int | Retries | None = None,
        batch: tuple[int, int] | None = None,
        preload: Sequence[str] | None = None,
        **unknown: Never,
    ) -> None:
        given = {
            "name": name, "gpu": gpu, "cpu": cpu, "workers": workers, "idle_timeout": idle_timeout,
            "dependencies": dependencies, "system_dependencies": system_dependencies,
            "accelerate_downloads": accelerate_downloads, "volume": volume, "datacenter": datacenter, "env": env,
            "gpu_count": gpu_count, "execution_timeout_ms": execution_timeout_ms, "flashboot": flashboot,
            "image": image, "scaler_type": scaler_type, "scaler_value": scaler_value, "template": template,
            "min_cuda_version": min_cuda_version, "max_concurrency": max_concurrency,
            "python_version": python_version, "retries": retries, "batch": batch, "preload": preload, **unknown,
        }  # fmt: skip
        if id is not None:
            options.check_client(id, given, _usual())
        spec = options.check(given)
        self.__dict__.update(_attributes(spec, id))

    @overload
    def __call__(self, target: type[T]) -> RemoteClass[T]: ...  # type: ignore[overload-overlap]  # a class can be called
    @overload
    def __call__(self, target: Callable[P, Coroutine[Any, Any, R]]) -> AsyncRemoteFunction[P, R]: ...
    @overload
    def __call__(self, target: Callable[P, Iterator[X]]) -> RemoteGenerator[P, Iterator[X], X]: ...
    @overload
    def __call__(self, target: Callable[P, AsyncIterator[X]]) -> RemoteGenerator[P, AsyncIterator[X], X]: ...
    @overload
    def __call__(self, target: Callable[P, R]) -> RemoteFunction[P, R]: ...
    def __call__(self, target: Any) -> Any:
        """Put a function or class on this endpoint.

        On a worker of the endpoint, `target` comes back unchanged.

        Raises:
            ConfigError: `target` is something else; or the endpoint is a client.
        """
        if self.is_client:
            raise ConfigError(
                f"{self!r} is a client of its image, or of an endpoint that is there already, and cannot decorate; to "
                f"put {_described(target)} on an endpoint, leave out id= and image= and declare one with name="
            )
        self._check_free(target)
        self._table.taken_by = getattr(target, "__qualname__", "")
        return _decorated(target, self.spec)

    def batched(self, max_size: int, max_wait_ms: int) -> "Batched":
        """As `batch=(max_size, max_wait_ms)`, with types: a function of lists is called with single values.

            @Endpoint(gpu="NVIDIA L4").batched(32, 10)
            def embed(texts: list[str]) -> list[Vector]: ...

            vector = await embed("one text")

        Each call gives one value for each parameter; up to `max_size` calls that arrive within `max_wait_ms` of the
        first become one. An exception fails all of them; an exception in the returned list, at a call's place, that one
        alone.

        Raises:
            ConfigError: a number is out of bounds, or the endpoint is a client.
        """
        if self.is_client:
            raise ConfigError(f"{self!r} is a client and cannot decorate; leave out id= and image=")
        self._check_free(None)
        self._table.taken_by = "a batched function"
        return Batched(replace(self.spec, batch=options.check({"batch": (max_size, max_wait_ms)}).batch))

    def _check_free(self, target: Any) -> None:
        """Raise ConfigError where the endpoint serves routes."""
        if self._table:
            it = "it" if target is None else _described(target)
            raise ConfigError(
                f"endpoint {self.spec.name!r} serves routes already, so it decorates no function of its own; declare "
                f"another Endpoint for {it}"
            )

    @property
    def is_load_balanced(self) -> bool:
        """Whether it has routes, serves an application, or has an image that was sent HTTP requests."""
        return bool(self._table) or self._kind is ServerlessType.LB

    @property
    def scaler_type(self) -> ServerlessScalerType:
        """What the number of workers follows."""
        usual = ServerlessScalerType.REQUEST_COUNT if self.is_load_balanced else ServerlessScalerType.QUEUE_DELAY
        return usual if self.is_load_balanced else self.spec.scaler_type or usual

    def websocket(self, path: str) -> Callable[[F], F]:
        """`@api.websocket(path)` serves an `async def` that gets a `fastapi.WebSocket`; it comes back as it is.

        Raises:
            ConfigError: it cannot be served there.
        """
        check_path(WEBSOCKET, path)

        def serve(function: F) -> F:
            return self._table.add(WEBSOCKET, path, function)

        return serve

    def asgi(self, make_app: F) -> F:
        """Serve the ASGI application that a function makes on the worker, its lifespan included; as a decorator, too.

        Raises:
            ConfigError: it is no such function, or the endpoint serves something already.
        """
        return self._table.add_app(make_app)

    @property
    def id(self) -> str | None:
        """The endpoint's id on the platform; None before the first call or `provision`, and without `name`."""
        if self._given_id is not None:
            return self._given_id
        found = provisioned(self.spec.name)
        return None if found is None else found.id

    @property
    def url(self) -> str | None:
        """Where the endpoint's requests go: `url + "/run"`, `url + "/health"` …; None as for `id`.

        Of a client, `provision` finds it out.
        """
        if self._given_id is not None:
            return self._session.url_of(self._given_id)
        found = provisioned(self.spec.name)
        return (found.url or None) if found is not None else None

    def job(self, job_id: str) -> "EndpointJob[Any]":
        """The handle of a job of this endpoint that was submitted earlier, maybe by another program.

        Raises:
            ConfigError: the endpoint has no name.
        """
        return handle(self._own_name("job"), job_id, self._given_id or "")

    @dual
    async def provision(self) -> "Provisioned":
        """Find the endpoint on the platform as it is declared, change it or make it, without a call.

        Afterwards `id` and `url` are there, which it returns, too. A client's endpoint is looked up alone.

        Raises:
            ConfigError: the endpoint has no name, or an option cannot be.
            EndpointNotFound: no endpoint has this `id`.
            BackendError: the platform refuses.
        """
        if self._given_id is not None:
            return await self._session.described(self._given_id)
        self._own_name("provision")
        if self._table:
            return await self._session.serve(self._table)
        if self.spec.image:
            return await self._of_image(None)
        return await self._session.provision(self.spec)

    @property
    def recover(self) -> "Dual[[], list[EndpointJob[Any]]]":
        """`recover()` gives the jobs that this project's programs have submitted to the endpoint, the oldest first.

        The programs need not have lived to see the answer: what arrived on the platform is there, as long as it is
        kept. Blocks; where an event loop runs in this thread it gives a coroutine to be awaited.

        Raises:
            ConfigError: the endpoint has no name.
            BackendError: the platform, or this user's record of submissions, cannot be read.
        """
        return recovery(self._own_name("recover"))

    async def _located(self, kind: ServerlessType | None = None) -> Located:
        if self._given_id is not None:
            return Located(self._given_id, self.spec.name or self._given_id)
        name = self._own_name("run")
        if self._table:
            served = await self._session.serve(self._table)
            return Located(served.id, name, {"X-Flash-Version": str(served.version)})
        if self.spec.image:
            return Located((await self._of_image(kind)).id, name)
        return Located((await self._session.named(name)).id, name)

    async def _of_image(self, kind: ServerlessType | None) -> "Provisioned":
        """The endpoint of the image, which takes jobs or HTTP requests as its first use says. Raises ConfigError."""
        if self._session.deployed is not None:
            return await self._session.named(self.spec.name)
        kind = kind or self._kind
        if kind is None:
            try:
                return await self._session.named(self.spec.name)
            except EndpointNotFound:
                raise ConfigError(
                    f"endpoint {self.name!r} is not on the platform yet, and whether its image takes jobs or HTTP "
                    "requests shows at its first use: call run() or runsync(), or get(), post() …"
                ) from None
        spec = options.of_kind(self.spec, kind)
        if self._kind not in (None, kind):
            raise ConfigError(
                f"endpoint {self.name!r} has taken {_KINDS[self._kind]} first, so it takes no {_KINDS[kind]}: an image "
                "answers one of the two; declare another Endpoint with another name= for it"
            )
        self.__dict__.update(_kind=kind)
        return await self._session.provision(spec)

    def _decorate(self, method: str, path: str, function: Any) -> Any:
        if self.is_client:
            return super()._decorate(method, path, function)
        return self._table.add(method, path, function)

    async def _request(self, asked: "WebRequest") -> Any:
        try:
            return await super()._request(asked)
        except EndpointNotFound:
            if not self._table:
                raise
            self._session.forget_served(self.spec.name)  # somebody has deleted it
            return await super()._request(asked)

    def _own_name(self, what: str) -> str:
        if self._given_id is not None:
            return self.spec.name or self._given_id
        if not self.spec.name:
            raise ConfigError(f"{what}() needs to know the endpoint; give it a name: Endpoint(name=…).{what}(…)")
        return self.spec.name

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.spec, self._given_id)  # without its routes: a function of theirs may refer to it

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{name} of an endpoint cannot be changed after its declaration; declare another Endpoint")

    def __repr__(self) -> str:
        if self._given_id is not None:
            return f"Endpoint(id={self._given_id!r})"
        hardware = ", ".join(str(item.value) for item in self.spec.cpu or self.spec.gpu)
        return f"Endpoint({self.spec.name or None!r}, {'cpu' if self.is_cpu else 'gpu'}=[{hardware}])"


class Batched:
    """The decorator for functions and classes whose calls are batched; see `Endpoint.batched`."""

    def __init__(self, spec: EndpointSpec) -> None:
        self.spec = spec

    @overload
    def __call__(self, target: type[T]) -> RemoteClass[T]: ...  # type: ignore[overload-overlap]  # a class can be called
    @overload
    def __call__(self, target: Callable[[list[A]], Coroutine[Any, Any, list[R]]]) -> AsyncRemoteFunction[[A], R]: ...
    @overload
    def __call__(self, target: Callable[[list[A]], list[R]]) -> RemoteFunction[[A], R]: ...
    @overload
    def __call__(
        self, target: Callable[[list[A], list[B]], Coroutine[Any, Any, list[R]]]
    ) -> AsyncRemoteFunction[[A, B], R]: ...
    @overload
    def __call__(self, target: Callable[[list[A], list[B]], list[R]]) -> RemoteFunction[[A, B], R]: ...
    @overload
    def __call__(self, target: Callable[..., Coroutine[Any, Any, list[R]]]) -> AsyncRemoteFunction[..., R]: ...
    @overload
    def __call__(self, target: Callable[..., list[R]]) -> RemoteFunction[..., R]: ...
    def __call__(self, target: Any) -> Any:
        """Put a function or class on the endpoint. Raises as `Endpoint.__call__`."""
        return _decorated(target, self.spec)


def _decorated(target: Any, spec: EndpointSpec) -> Any:
    if not (inspect.isfunction(target) or inspect.isclass(target)):
        raise ConfigError(f"Endpoint decorates a function or a class, not {_described(target)}")
    if target.__name__ == "<lambda>" and not spec.name:
        raise ConfigError("a lambda has no name of its own; give the endpoint one with name=")
    if not spec.name:
        options.check({"name": target.__name__})
    if spec.batch is not None:
        batches.check_target(target)
    return make_remote(target, spec.named(target.__name__))


def _attributes(spec: EndpointSpec, given_id: str | None) -> dict[str, Any]:
    plain = (
        "idle_timeout", "accelerate_downloads", "gpu_count", "execution_timeout_ms", "flashboot", "min_cuda_version",
        "max_concurrency", "python_version", "retries", "workers_min", "workers_max",
    )  # fmt: skip
    lists = ("dependencies", "system_dependencies", "volume", "datacenter", "preload")
    return {
        **{name: getattr(spec, name) for name in plain},
        **{name: list(getattr(spec, name)) or None for name in lists},
        "name": spec.name or None,
        "batch": None if spec.batch is None else (spec.batch.max_size, spec.batch.max_wait_ms),
        "env": dict(spec.env) or None,
        "scaler_value": DEFAULT_SCALER_VALUE if spec.scaler_value is None else spec.scaler_value,
        "is_cpu": bool(spec.cpu),
        "image": spec.image or None,
        "template": spec.template,
        "spec": spec,
        "is_client": given_id is not None or bool(spec.image),
        "_table": RouteTable(spec),
        "_given_id": given_id,
        "_kind": None,
    }


def _rebuilt(spec: EndpointSpec, given_id: str | None) -> Endpoint:
    endpoint = object.__new__(Endpoint)
    endpoint.__dict__.update(_attributes(spec, given_id))
    return endpoint


def _usual() -> dict[str, Any]:
    """What each keyword is where the user says nothing."""
    return {name: each.default for name, each in inspect.signature(Endpoint.__init__).parameters.items()}


def _described(target: object) -> str:
    if isinstance(target, RemoteFunction | RemoteClass | RemoteInstance | RemoteMethod):
        return f"{target!r}, which is on an endpoint already"
    name = getattr(target, "__qualname__", None) or getattr(target, "__name__", None)
    kind = type(target).__name__
    return f"{name} (a {kind})" if name else f"{target!r:.80} (a {kind})"
