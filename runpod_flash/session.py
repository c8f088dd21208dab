"""Where a program meets its platform: a connection for each event loop, and a memory of what it has there.

    request ▶ encode ▶ connect ▶ ship ▶ agree on the endpoint ▶ upload what is missing ▶ submit ▶ wait ▶ value

The current session is a context variable. Its default does nothing until the first call.
"""

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import sys
import uuid
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from runpod_flash import backends, options, outcome, package_index, shipping
from runpod_flash import output as output_module
from runpod_flash import settings as settings_module
from runpod_flash.backends.base import Backend, Json
from runpod_flash.blocking import Bridge, Running
from runpod_flash.calls import Request, Ticket
from runpod_flash.confighash import config_hash
from runpod_flash.errors import (
    BackendError,
    BackendUnavailable,
    ConfigError,
    ContentNotFound,
    EndpointNotFound,
    FlashError,
)
from runpod_flash.output import Output
from runpod_flash.project import project_of_program
from runpod_flash.settings import Settings
from runpod_flash.spec import EndpointSpec, to_body
from worker_runtime.wire.jobs import Call, Instance, Payload
from worker_runtime.wire.specs import EnvironmentRequest, PackageIndex

T = TypeVar("T")

CANCEL_S = 2.0
"""How long a cancelled call waits for the platform to take the cancellation, in seconds."""

_EXIT_S = 1.0  # … and the end of the program for objects to be dropped
_DETACH_S = 3.0
_SUBMITS = 3  # a platform may turn out to have lost the endpoint, then the artifact
_LOG_LINES = 50


@dataclass(slots=True)
class _Link:
    """What belongs to one event loop: the connection, what was agreed over it, and work that several calls wait for."""

    connection: "asyncio.Task[Backend] | None" = None
    agreed: "dict[str, tuple[EndpointSpec, str]]" = field(
        default_factory=dict
    )  # by name: the spec and the endpoint's id
    shared: "dict[Hashable, asyncio.Task[Any]]" = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Declaration:
    """Who declared an endpoint of this program: a function or class, by its name and itself."""

    spec: EndpointSpec
    place: tuple[str, str]
    target: "weakref.ref[Any]"


class Session:
    """Calls go through it. Made without effect; settings are read, and the platform is reached, by the first call.

    Args:
        settings: what to use instead of the environment.
        project: folder in which names of endpoints are unique; default: the program's own.
    """

    def __init__(self, settings: Settings | None = None, project: Path | None = None) -> None:
        self._given, self._project = settings, project
        self._bridge = Bridge()
        self._links: dict[asyncio.AbstractEventLoop, _Link] = {}
        self._declared: dict[str, _Declaration] = {}
        self._stored: set[str] = set()  # artifacts that the platform holds
        self._objects: set[str] = set()  # remote objects that were used and not dropped
        self._doomed: set[str] = set()  # those of them that nobody has any more
        self._dropping: set[asyncio.Task[None]] = set()
        self._index: PackageIndex | None = None
        self._owner: int | None = None  # the process that registered `_at_exit`

    @property
    def settings(self) -> Settings:
        """The settings; read on first use."""
        if self._given is None:
            self._given = settings_module.load()
        return self._given

    @property
    def project(self) -> Path:
        """The folder in which names of endpoints are unique."""
        if self._project is None:
            self._project = self.settings.project or project_of_program()
        return self._project

    @property
    def output(self) -> Output:
        """What shows progress and the workers' output to the user."""
        return output_module.of_program(self.settings.logs)

    # --- calls --------------------------------------------------------------------------------------------------------

    async def call(self, request: Request, tickets: "list[Ticket] | None" = None) -> Any:
        """Run a call and return its value, or raise its exception. `tickets` gets the job once it is submitted.

        Cancelling the awaiting task cancels the job.
        """
        ticket = await self.submit(request)
        if tickets is not None:
            tickets.append(ticket)
        try:
            job = await self.wait(ticket)
        except asyncio.CancelledError:
            await self._abandon(ticket.endpoint_id, _ready(ticket.job_id))
            raise
        return await self.value(ticket, job)

    async def submit(self, request: Request) -> Ticket:
        """Bring a call to the platform, with all that it needs there.

        Raises:
            ConfigError, ShippingError, BackendError: see `errors`.
        """
        arguments = _encoded(request, request.args, request.kwargs)
        if request.instance is not None and request.instance.constructor is None:
            request.instance.constructor = _encoded(request, request.instance.args, request.instance.kwargs)
        key = uuid.uuid4().hex
        for left in reversed(range(_SUBMITS)):
            try:
                return await self._submit(request, arguments, key)
            except (EndpointNotFound, ContentNotFound):
                if not left:
                    raise
                self._link().agreed.pop(request.spec.name, None)
                self._stored.clear()
        raise AssertionError("unreachable")

    async def wait(self, ticket: Ticket) -> Json:
        """Wait until a job is final and return its object."""
        return await (await self._backend()).outcome(await self._endpoint_id(ticket), ticket.job_id)

    async def value(self, ticket: Ticket, job: Json) -> Any:
        """The value of a final job, or its exception is raised."""
        backend = await self._backend()
        if outcome.succeeded(job):
            return await outcome.value_of(job, ticket.name, backend.get_value)
        lines: list[str] = []
        with contextlib.suppress(FlashError, TimeoutError):  # the failure itself matters more
            async with asyncio.timeout(CANCEL_S):
                lines = list(await backend.logs(await self._endpoint_id(ticket), ticket.job_id))
        raise outcome.failure_of(job, ticket.name, lines[-_LOG_LINES:])

    async def status(self, ticket: Ticket) -> Json:
        """The job as it is now."""
        return await (await self._backend()).status(await self._endpoint_id(ticket), ticket.job_id)

    async def cancel(self, ticket: Ticket) -> None:
        """Cancel a job."""
        await (await self._backend()).cancel(await self._endpoint_id(ticket), ticket.job_id)

    async def logs(self, ticket: Ticket) -> list[str]:
        """What a job has written."""
        return list(await (await self._backend()).logs(await self._endpoint_id(ticket), ticket.job_id))

    # --- calls from blocking code -------------------------------------------------------------------------------------

    def call_blocking(self, request: Request) -> Any:
        """`call` for code without an event loop. The first Ctrl-C cancels the job, a second one leaves it alone."""
        tickets: list[Ticket] = []
        running = self.start(self.call(request, tickets))
        try:
            return _result(running)
        except KeyboardInterrupt:
            self._interrupted(running, tickets, request)
            raise

    def submit_blocking(self, request: Request) -> Ticket:
        """`submit` for code without an event loop."""
        return self.run(self.submit(request))

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Running[T]:
        """Run a coroutine on the bridge."""
        self._watch_exit()
        return self._bridge.start(coroutine)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the bridge and block for its result."""
        running = self.start(coroutine)
        try:
            return _result(running)
        except KeyboardInterrupt:
            running.cancel()
            raise

    def _interrupted(self, running: Running[Any], tickets: list[Ticket], request: Request) -> None:
        running.cancel()
        try:
            running.wait(_DETACH_S)
        except KeyboardInterrupt:
            for ticket in tickets:
                self.output.say(
                    f"detached from job {ticket.job_id} of endpoint '{ticket.name}', which may still run; "
                    f"ask for it later with {request.target.__name__}.job({ticket.job_id!r}).result()"
                )
            raise

    # --- remote objects -----------------------------------------------------------------------------------------------

    async def drop(self, instance_id: str) -> None:
        """Drop a remote object; a platform that is gone is no error."""
        with contextlib.suppress(BackendError):
            self._doomed.add(instance_id)  # where this is cancelled, the next connection does it
            await (await self._backend()).drop_instance(instance_id)
            self._doomed.discard(instance_id)
            self._objects.discard(instance_id)

    def drop_later(self, instance_id: str) -> None:
        """`drop` without waiting; called from anywhere, by the garbage collector too."""
        if self._owner != os.getpid() or instance_id not in self._objects or sys.is_finalizing():
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            with contextlib.suppress(RuntimeError):  # the program ends, and no thread can be started any more
                self._bridge.start(self.drop(instance_id))
        else:
            self._drop_on_loop(instance_id)

    def _drop_on_loop(self, instance_id: str) -> None:
        task = asyncio.get_running_loop().create_task(self.drop(instance_id))
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)

    # --- the steps of a submission ------------------------------------------------------------------------------------

    async def _submit(self, request: Request, arguments: bytes, key: str) -> Ticket:
        backend = await self._backend()
        spec = request.spec
        artifact = shipping.ship(
            request.target,
            name=spec.name,
            environment=self._environment(backend, spec),
            max_concurrency=spec.max_concurrency,
        )
        endpoint_id = await self._agree(backend, request)
        if artifact.id not in self._stored:
            await self._shared(artifact.id, lambda: self._store(backend, artifact))
        call = Call(artifact.id, await self._payload(backend, arguments), request.method, retries=spec.retries)
        if request.instance is not None and request.instance.constructor is not None:
            constructor = await self._payload(backend, request.instance.constructor)
            call = Call(
                call.artifact, call.arguments, call.method, Instance(request.instance.id, constructor), call.retries
            )
        submission = asyncio.create_task(backend.submit(endpoint_id, call.to_input(), key))
        try:
            job_id = await asyncio.shield(submission)
        except asyncio.CancelledError:
            await self._abandon(endpoint_id, submission)
            raise
        if request.instance is not None and not request.instance.borrowed:
            request.instance.session = self
            self._objects.add(request.instance.id)
        return Ticket(job_id, endpoint_id, spec.name)

    async def _agree(self, backend: Backend, request: Request) -> str:
        """The id of the request's endpoint, which after this is on the platform as declared."""
        spec, agreed = request.spec, self._link().agreed
        known = agreed.get(spec.name)
        if known is None or known[0] != spec:
            self._declare(request)
            options.check_requirements(spec)
            known = agreed[spec.name] = spec, await self._shared(spec, lambda: self._provision(backend, spec))
        return known[1]

    def _declare(self, request: Request) -> None:
        """Refuse a second declaration of a name that differs; the same function declared again replaces itself."""
        spec, place = request.spec, (request.target.__module__, request.target.__qualname__)
        known = self._declared.get(spec.name)
        if known is not None and known.spec != spec and known.place != place and known.target() is not None:
            raise ConfigError(
                f"endpoint '{spec.name}' is declared twice with different options, by {'.'.join(known.place)} and "
                f"{'.'.join(place)}; give one of them another name="
            )
        self._declared[spec.name] = _Declaration(spec, place, weakref.ref(request.target))

    async def _provision(self, backend: Backend, spec: EndpointSpec) -> str:
        body = to_body(spec, default_queue_delay=backend.default_queue_delay)
        found = await backend.find(spec.name)
        if found is None:
            try:
                return str((await backend.create(body))["id"])
            except BackendError:
                found = await backend.find(spec.name)  # another program may have been quicker
                if found is None:
                    raise
        if bool(found.get("cpu")) != ("cpu" in body):  # an endpoint keeps its compute family, so this is another one
            self.output.say(f"endpoint '{spec.name}' changes between gpu= and cpu=, so it is made anew")
            await backend.delete(str(found["id"]))
            return str((await backend.create(body))["id"])
        if config_hash(found) != config_hash(body) or dict(found.get("env") or {}) != body["env"]:
            change = {key: value for key, value in body.items() if key != "type"}  # which no endpoint can change
            found = await backend.update(str(found["id"]), change)
        return str(found["id"])

    async def _store(self, backend: Backend, artifact: shipping.Artifact) -> None:
        if not await backend.has_artifact(artifact.id):
            await backend.put_artifact(artifact.id, artifact.data())
        self._stored.add(artifact.id)

    async def _payload(self, backend: Backend, data: bytes) -> Payload:
        payload = Payload.of(data)
        if payload.sha256 is not None:
            await backend.put_value(payload.sha256, data)
        return payload

    def _environment(self, backend: Backend, spec: EndpointSpec) -> EnvironmentRequest:
        if self._index is None:
            self._index = package_index.read(self.settings.environ, Path(sys.prefix))
        return EnvironmentRequest(
            python=spec.python_version,
            dependencies=spec.dependencies,
            system_dependencies=spec.system_dependencies,
            caller=sys.executable if backend.shares_machine else None,
            index=self._index if spec.dependencies else PackageIndex(),
        )

    async def _abandon(self, endpoint_id: str, job_id: Awaitable[str]) -> None:
        """Cancel the job of a call that nobody waits for any more."""
        with contextlib.suppress(FlashError, TimeoutError):
            async with asyncio.timeout(CANCEL_S):
                await (await self._backend()).cancel(endpoint_id, await job_id)

    # --- connections --------------------------------------------------------------------------------------------------

    async def _backend(self) -> Backend:
        """The connection of the running event loop."""
        link = self._link()
        if link.connection is None:
            link.connection = asyncio.create_task(self._connect())
        connection = link.connection
        try:
            return connection.result() if connection.done() else await asyncio.shield(connection)
        except FlashError:
            if link.connection is connection:
                link.connection = None
            raise

    async def _connect(self) -> Backend:
        self._watch_exit()
        settings = self.settings
        if settings.runpod_api_key and not settings.target_chosen:
            message = "RUNPOD_API_KEY is set, but this version has no cloud target yet: calls run on this machine"
            self.output.notice({"key": "no-cloud", "message": message})
        backend = await backends.connect(settings, self.project)
        for instance_id in self._doomed:
            self._drop_on_loop(instance_id)
        return backend

    def _link(self) -> _Link:
        loop = asyncio.get_running_loop()
        link = self._links.get(loop)
        if link is None:
            for other in [other for other in self._links if other.is_closed()]:
                self._links.pop(other, None)
            link = self._links[loop] = _Link()
        return link

    async def _shared(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do something once for all calls of this loop that ask for it at the same time."""
        shared = self._link().shared
        if key not in shared:
            task = shared[key] = asyncio.create_task(start())
            task.add_done_callback(lambda done: (shared.pop(key), done.cancelled() or done.exception()))
        return await asyncio.shield(shared[key])

    async def _endpoint_id(self, ticket: Ticket) -> str:
        if ticket.endpoint_id:
            return ticket.endpoint_id
        found = await (await self._backend()).find(ticket.name)
        if found is None:
            raise EndpointNotFound(f"the platform has no endpoint '{ticket.name}' in project {self.project}")
        return str(found["id"])

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Drop remote objects and end the bridge; connections end with their event loops."""
        if self._owner == os.getpid():
            atexit.unregister(self._at_exit)
            self._at_exit()
            self._owner = None

    def _watch_exit(self) -> None:
        if self._owner != os.getpid():
            if self._owner is not None:  # a fork: objects are the parent's, who drops them
                self._objects.clear()
                self._doomed.clear()
            else:
                atexit.register(self._at_exit)
            self._owner = os.getpid()

    def _at_exit(self) -> None:
        if self._owner != os.getpid():
            return
        if self._objects:
            with contextlib.suppress(FlashError, TimeoutError, RuntimeError, concurrent.futures.CancelledError):
                if self._bridge.alive:
                    self._bridge.run(self._drop_all(), _EXIT_S)
                else:
                    asyncio.run(self._drop_all())
        self._bridge.close()

    async def _drop_all(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_S):
                await asyncio.gather(*(self.drop(instance_id) for instance_id in list(self._objects)))


_unused = Session()  # does nothing until a call goes through it
_current: ContextVar[Session] = ContextVar("session", default=_unused)


def current() -> Session:
    """The session that calls of this context go through."""
    return _current.get()


@contextlib.contextmanager
def use(session: Session) -> Iterator[Session]:
    """Let calls inside go through `session`, which is closed at the end."""
    token = _current.set(session)
    try:
        yield session
    finally:
        _current.reset(token)
        session.close()


def _encoded(request: Request, args: tuple[Any, ...], kwargs: Any) -> bytes:
    return shipping.encode_arguments(args, dict(kwargs), target_name=request.shown, target=request.target)


def _result(running: Running[T]) -> T:
    try:
        return running.result()
    except concurrent.futures.CancelledError:
        raise BackendUnavailable("the program is ending, so nobody waits for this call any more") from None


async def _ready(value: T) -> T:
    return value
