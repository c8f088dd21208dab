"""Where a program meets its platform: a connection for each event loop, and a memory of what it has there.

    request ▶ encode ▶ connect ▶ ship ▶ agree on the endpoint ▶ upload what is missing ▶ note ▶ submit ▶ wait ▶ value

The current session is a context variable. Its default does nothing until the first call.
"""

import asyncio
import contextlib
import functools
import sys
from collections.abc import Callable, Coroutine, Hashable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from runpod_flash import backends, journal, options, outcome, package_index, shipping
from runpod_flash import output as output_module
from runpod_flash import settings as settings_module
from runpod_flash.agreement import Declarations, Provisioned, VolumeIds, provision
from runpod_flash.backends.base import Backend, Json
from runpod_flash.backends.waiting import InRoom, Waiting
from runpod_flash.blocking import Bridge, Running
from runpod_flash.calls import JobOptions, Request, Ticket, detached
from runpod_flash.crossing import Crossing
from runpod_flash.delivery import Delivery, Holding, as_taken, encoded, shipped, way_to
from runpod_flash.deployed import Deployed
from runpod_flash.errors import (
    ContentNotFound,
    EndpointNotFound,
    FlashError,
)
from runpod_flash.journal import Journal, Submission
from runpod_flash.objects import Objects
from runpod_flash.output import Output
from runpod_flash.project import project_of_program
from runpod_flash.sending import CANCEL_S, SUBMITS, Link, Sending
from runpod_flash.serving import Served, Serving
from runpod_flash.settings import Settings
from runpod_flash.spec import EndpointSpec
from worker_runtime.wire.class_names import ClassNames
from worker_runtime.wire.ids import ordered_hex
from worker_runtime.wire.jobs import Payload
from worker_runtime.wire.pieces import joined
from worker_runtime.wire.specs import PackageIndex

T = TypeVar("T")

_DETACH_S = 3.0
_LOG_LINES = 50


class Session(Serving, Sending):
    """Calls go through it. Made without effect; settings are read, and the platform is reached, by the first call.

    With FLASH_APP or FLASH_ENV set, names mean what is deployed: see `deployed`.

    Args:
        settings: what to use instead of the environment.
        project: folder in which names of endpoints are unique; default: the program's own.

    Attributes:
        objects: what this program has on the platform and does not leave there.
    """

    def __init__(self, settings: Settings | None = None, project: Path | None = None) -> None:
        self._given, self._project = settings, project
        self._bridge = Bridge()
        self._links: dict[asyncio.AbstractEventLoop, Link] = {}
        self._declared = Declarations()
        self._provisioned: dict[str, Provisioned] = {}  # by name
        self._described: dict[str, Provisioned] = {}  # by id
        self.volume_ids: VolumeIds = {}  # of those that this program has found or made
        self._journal: Journal | None = None
        self._held: set[Holding] = set()
        self.objects: Objects = Objects(self._bridge, self._backend)
        self._index: PackageIndex | None = None

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

    @functools.cached_property
    def deployed(self) -> Deployed | None:
        """The stage whose endpoints names mean; None: they mean those of the project. Raises ConfigError."""
        return Deployed.of(self.settings, self.project)

    @property
    def scope(self) -> Path | str:
        """Where names of endpoints are unique."""
        return self.project if self.deployed is None else self.deployed.stage.scope

    @property
    def names(self) -> ClassNames:
        """How values name classes."""
        return shipping.names() if self.deployed is None else shipping.names(self.deployed.way)

    @property
    def output(self) -> Output:
        """What shows progress and the workers' output to the user."""
        return output_module.of_program(self.settings.logs)

    @property
    def journal(self) -> Journal | None:
        """Where submissions are noted. None in a worker, and for the inline target, whose jobs end with the program."""
        settings = self.settings
        if self._journal is None and settings.target != "inline" and not settings.in_worker:
            self._journal = Journal(settings.home, settings.target, str(self.scope), self._cannot_note)
        return self._journal

    def provisioned(self, name: str) -> Provisioned | None:
        """The endpoint of this name as the platform has it; None before the first call of this program."""
        return self._provisioned.get(name)

    def url_of(self, endpoint_id: str) -> str | None:
        """Where requests of the endpoint with this id go; None before `described`."""
        found = self._described.get(endpoint_id)
        return (found.url or None) if found is not None else None

    # --- calls --------------------------------------------------------------------------------------------------------

    async def call(self, request: Request, tickets: "list[Ticket] | None" = None) -> Any:
        """Run a call and return its value, or raise its exception. `tickets` gets the job once it is submitted.

        Cancelling the awaiting task cancels the job.
        """
        sent = self._sent(request, tickets)
        waiting = sent if isinstance(sent, Waiting) else await self._send_anew(request, tickets, arguments=sent)
        if waiting is None:
            return await self._call_alone(request, tickets)
        try:
            found = await waiting
        except asyncio.CancelledError:
            await self._give_up(waiting)
            raise
        except (EndpointNotFound, ContentNotFound):
            waiting = await self._send_again(request, waiting, tickets)
            found = waiting.result()
        if type(found) is dict:
            return await self.value(waiting.ticket, found, once=True)
        if type(found) is Payload:
            return await self._fetched(waiting, found)
        if type(found) is InRoom:
            found = found.taken()
        return outcome.loaded(found, waiting.kind.name, waiting.facts, self._names)

    async def _call_alone(self, request: Request, tickets: "list[Ticket] | None") -> Any:
        """`call` where a call is a request of its own, or shall not wait as long as it takes."""
        ticket = await self.submit(request)
        if tickets is not None:
            tickets.append(ticket)
        try:
            async with contextlib.nullcontext() if self.deployed is None else self.deployed.waiting(ticket):
                job = await self.wait(ticket)
        except asyncio.CancelledError:
            await self._abandon(ticket.endpoint_id, ticket.job_id)
            raise
        return await self.value(ticket, job, once=True)

    async def submit(self, request: Request) -> Ticket:
        """Bring a call to the platform, with all that it needs there.

        Raises:
            ConfigError, ShippingError, BackendError: see `errors`.
        """
        sent = self._sent(request, submits_only=True)
        waiting = (
            sent if isinstance(sent, Waiting) else await self._send_anew(request, arguments=sent, submits_only=True)
        )
        if waiting is not None:
            try:
                await waiting
            except asyncio.CancelledError:
                await self._give_up(waiting)
                raise
            except (EndpointNotFound, ContentNotFound):
                waiting = await self._send_again(request, waiting, submits_only=True)
            return waiting.ticket
        way = way_to(request.spec, self.settings) if self.deployed is None else self.deployed.way
        arguments = joined(encoded(request, way))
        key = ordered_hex()
        for left in reversed(range(SUBMITS)):
            try:
                return await self._submit(request, way, arguments, key)
            except (EndpointNotFound, ContentNotFound):
                if not left:
                    raise
                self._forget(request.spec)
        raise AssertionError("unreachable")

    async def wait(self, ticket: Ticket) -> Json:
        """Wait until a job is final and return its object."""
        return await (await self._backend()).outcome(await self._endpoint_id(ticket), ticket.job_id)

    async def value(self, ticket: Ticket, job: Json, *, once: bool = False) -> Any:
        """The value of a final job, or its exception is raised. `once`: nobody will ask for it again."""
        backend = await self._backend()
        if outcome.succeeded(job):
            found = await outcome.value_of(job, ticket.name, backend.fetch, self.names)
            if once and (shared := outcome.in_memory(job)) is not None:
                backend.taken(shared)
            return found
        lines: list[str] = []
        with contextlib.suppress(FlashError, TimeoutError):  # the failure itself matters more
            async with asyncio.timeout(CANCEL_S):
                lines = list(await backend.logs(await self._endpoint_id(ticket), ticket.job_id))
        raise outcome.failure_of(job, ticket.name, lines[-_LOG_LINES:], self.names)

    async def located(self, ticket: Ticket) -> tuple[Backend, str]:
        """The connection of the running event loop, and the id of the ticket's endpoint."""
        return await self._backend(), await self._endpoint_id(ticket)

    async def status(self, ticket: Ticket) -> Json:
        """The job as it is now."""
        return await (await self._backend()).status(await self._endpoint_id(ticket), ticket.job_id)

    async def cancel(self, ticket: Ticket) -> None:
        """Cancel a job."""
        await (await self._backend()).cancel(await self._endpoint_id(ticket), ticket.job_id)

    async def retry(self, ticket: Ticket) -> Json:
        """Queue a job that has failed or timed out once more; gives its id and new status."""
        return await (await self._backend()).retry(await self._endpoint_id(ticket), ticket.job_id)

    async def logs(self, ticket: Ticket, *, follow: bool = False) -> list[str]:
        """What a job has written; `follow`: what it writes from then on is shown as it comes."""
        backend, endpoint_id = await self._backend(), await self._endpoint_id(ticket)
        return list(await backend.logs(endpoint_id, ticket.job_id, follow=follow))

    # --- endpoints that are there already ----------------------------------------------------------------------------

    async def backend(self) -> Backend:
        """The connection of the running event loop, for what is no call."""
        return await self._backend()

    async def put(self, endpoint_id: str, name: str, job_input: Json, options: JobOptions) -> Ticket:
        """Submit a job whose input is plain JSON. `name`: what messages call the endpoint.

        Raises:
            EndpointNotFound, PayloadTooLarge, BackendError: see `errors`.
        """
        backend, key = await self._backend(), ordered_hex()
        sending = backend.submit(endpoint_id, job_input, key, options)
        return Ticket(await self._send(name, "run", endpoint_id, sending, key), endpoint_id, name)

    async def provision(self, spec: EndpointSpec, target: Callable[..., Any] | None = None) -> Provisioned:
        """Find or make the endpoint, without a call; what is deployed is found alone.

        `target`: the function or class that it is declared by.

        Raises:
            ConfigError, BackendError: see `errors`.
        """
        return await self._agree(await self._backend(), spec, target)

    # --- jobs of other programs ---------------------------------------------------------------------------------------

    async def noted(self) -> list[Submission]:
        """What programs of this user have submitted to this target, the oldest first, as far as it is noted."""
        noted = await asyncio.to_thread(journal.read, self.settings.home)
        return [each for each in noted if each.target == self.settings.target]

    async def submitted(self, name: str) -> list[Ticket]:
        """The jobs that this project's programs have submitted to the endpoint of this name, the oldest first.

        Those are all that are noted and that the platform still has, acknowledged or not.
        """
        ours = str(self.scope), name
        noted = [each for each in await self.noted() if (each.project, each.endpoint) == ours]
        if noted:
            await (await self._backend()).find(name)  # so that the backend knows the name to show
        return await self.arrived(noted)

    async def arrived(self, noted: Sequence[Submission]) -> list[Ticket]:
        """The jobs that came of these submissions, as far as the platform has them."""
        if not noted:
            return []
        found = await (await self._backend()).find_submitted([each.key for each in noted])
        if found is None:
            return [Ticket(each.job_id, each.endpoint_id, each.endpoint) for each in noted if each.job_id]
        known = [(found[each.key], each.endpoint) for each in noted if each.key in found]
        return [Ticket(str(job["id"]), str(job["endpoint"]), name) for job, name in known]

    async def facts(self, job_id: str) -> Json:
        """All that the platform knows of a job: see `Backend.facts`."""
        return await (await self._backend()).facts(job_id)

    # --- calls from blocking code -------------------------------------------------------------------------------------

    def call_blocking(self, request: Request) -> Any:
        """`call` for code without an event loop. The first Ctrl-C cancels the job, a second one leaves it alone."""
        tickets: list[Ticket] = []
        return self.block(self.call(request, tickets), lambda: tickets, request.target.__name__)

    def block(self, work: Coroutine[Any, Any, T], tickets: Callable[[], Sequence[Ticket]], name: str) -> T:
        """Run a coroutine on the bridge and block for its result.

        The first Ctrl-C cancels it and waits shortly for its end; a second one leaves the jobs of `tickets` alone, and
        tells how to come back to them. `name` is what the user calls the function.
        """
        self.objects.watch_exit()
        running = self._bridge.prepare(work)
        try:
            try:
                running.start()
                return running.value()
            except KeyboardInterrupt:  # from here on, wherever it comes, another one is caught below
                running.cancel()
                running.wait(_DETACH_S)
                raise
        except KeyboardInterrupt:
            if not running.ended:
                self.output.say(detached(tickets(), name))
            raise

    def submit_blocking(self, request: Request) -> Ticket:
        """`submit` for code without an event loop."""
        return self.run(self.submit(request))

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Running[T]:
        """Run a coroutine on the bridge."""
        self.objects.watch_exit()
        return self._bridge.start(coroutine)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the bridge and block for its result. Ctrl-C cancels it and waits shortly for its end."""
        running = self.start(coroutine)
        try:
            return running.value()
        except KeyboardInterrupt:
            running.cancel()
            running.wait(_DETACH_S)
            raise

    # --- the steps of a submission ------------------------------------------------------------------------------------

    async def _submit(self, request: Request, way: Crossing, arguments: bytes, key: str) -> Ticket:
        backend = await self._backend()
        spec = request.spec
        way, arguments = as_taken(request, way, arguments, self.settings, backend)
        artifact = shipped(request, way, backend, self._package_index()) if self.deployed is None else None
        endpoint_id = (await self._agree(backend, spec, request.target)).id
        delivery = self._link().delivery
        parcel = await delivery.pack(backend, artifact, request, arguments)
        sending = delivery.submit(backend, endpoint_id, parcel, key)
        try:
            job_id = await self._send(spec.name, request.shown, endpoint_id, sending, key)
        except BaseException:
            backend.unsent(parcel.call.arguments)
            raise
        if request.instance is not None and not request.instance.borrowed:
            self.objects.add(request.instance)
        return Ticket(job_id, endpoint_id, spec.name, request.stream)

    async def _send(self, name: str, shown: str, endpoint_id: str, sending: Coroutine[Any, Any, str], key: str) -> str:
        """The id of the job that `sending` submits. It is noted before and after, with what is called as `shown`."""
        journal = self.journal
        if journal is not None:
            journal.submitting(key, name, endpoint_id, shown)
        submission = asyncio.create_task(sending)
        try:
            job_id = await asyncio.shield(submission)
        except asyncio.CancelledError:
            await self._abandon(endpoint_id, submission)
            raise
        if journal is not None:
            journal.acknowledged(key, job_id)
        return job_id

    def _names(self) -> ClassNames:
        return self.names

    def _cannot_note(self, message: str) -> None:
        self.output.notice({"key": "no-journal", "message": message})

    async def _agree(self, backend: Backend, spec: EndpointSpec, target: Callable[..., Any] | None) -> Provisioned:
        """The endpoint, which after this is on the platform as it is declared, by `target` if there is one.

        What is deployed is found as it is.
        """
        agreed = self._link().agreed
        known = agreed.get(spec.name)
        if known is None or known[0] != spec:
            if target is not None:
                self._declared.add(spec, target)
            options.check_requirements(spec)
            making = functools.partial(provision, backend, spec, self.output, self.volume_ids)
            if self.deployed is not None:
                making = functools.partial(self.deployed.find, backend, spec.name)
            known = agreed[spec.name] = spec, await self._shared(spec, making)
        self._provisioned[spec.name] = known[1]
        return known[1]

    def _package_index(self) -> PackageIndex:
        if self._index is None:
            self._index = package_index.read(self.settings.environ, Path(sys.prefix))
        return self._index

    async def _abandon(self, endpoint_id: str, job_id: "str | asyncio.Task[str]") -> None:
        """Cancel the job of a call that nobody waits for any more. One more cancellation does not stop this."""
        for _ in range(2):  # the end of the event loop may cancel what is being cancelled
            with contextlib.suppress(asyncio.CancelledError):
                with contextlib.suppress(FlashError, TimeoutError):
                    async with asyncio.timeout(CANCEL_S):
                        known = job_id if isinstance(job_id, str) else await job_id
                        await (await self._backend()).cancel(endpoint_id, known)
                return  # a platform that does not answer is asked once

    # --- connections --------------------------------------------------------------------------------------------------

    async def _backend(self) -> Backend:
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
        self.objects.watch_exit()
        settings = self.settings
        if settings.runpod_api_key and not settings.target_chosen:
            message = "RUNPOD_API_KEY is set, but this version has no cloud target yet: calls run on this machine"
            self.output.notice({"key": "no-cloud", "message": message})
        backend = await backends.connect(settings, self.scope)
        self.objects.drop_doomed()
        return backend

    def _link(self) -> Link:
        loop = asyncio.get_running_loop()
        link = self._links.get(loop)
        if link is None:
            for other in [other for other in self._links if other.is_closed()]:
                self._links.pop(other, None)
            link = self._links[loop] = Link(Delivery(self._held))
        return link

    def _carriers(self) -> tuple[Delivery, dict[str, Served]]:
        link = self._link()
        return link.delivery, link.served

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
        return (await self.named(ticket.name)).id

    def close(self) -> None:
        """Drop remote objects and end the bridge; connections end with their event loops."""
        self.objects.close()
        if self._journal is not None:
            self._journal.close()


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
