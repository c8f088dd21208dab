"""The composition root: puts the control plane together, starts it, drains it and stops it."""

import asyncio
import logging
import os
import shutil
import signal
import sys
import time
from typing import Any

from starlette.requests import HTTPConnection

from runpod_flash import release
from runpod_flash.control_plane import inventory, listening, nvidia, siting
from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.api.access import Access, client_of
from runpod_flash.control_plane.api.app import Services, build_app, channels_of, conversations_of, prompt_of
from runpod_flash.control_plane.api.channel import ChannelServer
from runpod_flash.control_plane.api.serverless_body import created
from runpod_flash.control_plane.api_keys import ApiKeys
from runpod_flash.control_plane.apps import Apps
from runpod_flash.control_plane.artifacts import Artifacts
from runpod_flash.control_plane.autoscaler import Autoscaler
from runpod_flash.control_plane.balanced_workers import BalancedWorkers
from runpod_flash.control_plane.blobs import Blobs
from runpod_flash.control_plane.carried import Carried
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.command_workers import CommandWorkers
from runpod_flash.control_plane.deploys import Deploys
from runpod_flash.control_plane.disk import DiskGuard
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.events import EventHub
from runpod_flash.control_plane.expiring import Expiring
from runpod_flash.control_plane.fleet import Fleet
from runpod_flash.control_plane.keys import ensure_key
from runpod_flash.control_plane.launchers.fork import ForkLauncher
from runpod_flash.control_plane.launchers.fork_server import FORKS, Spawned
from runpod_flash.control_plane.launchers.process import ProcessLauncher
from runpod_flash.control_plane.launches import Site
from runpod_flash.control_plane.links import LinkServer
from runpod_flash.control_plane.loans import Loans
from runpod_flash.control_plane.own_code import check_body, input_as_sent
from runpod_flash.control_plane.platform_core import PlatformCore
from runpod_flash.control_plane.preparing import Preparing
from runpod_flash.control_plane.principals import Need
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.sealing import Seal
from runpod_flash.control_plane.served_code import ServedCode
from runpod_flash.control_plane.settings import PlaneSettings
from runpod_flash.control_plane.sharing import FULL, Sharing
from runpod_flash.control_plane.start_notices import StartNotices
from runpod_flash.control_plane.store import Store
from runpod_flash.control_plane.streams import Streams
from runpod_flash.control_plane.succession import LOOK_S, Succession
from runpod_flash.control_plane.supervisor import Supervisor
from runpod_flash.control_plane.turn import Turn
from runpod_flash.control_plane.vetting import vet
from runpod_flash.control_plane.views import job_object
from runpod_flash.control_plane.volume_files import VolumeFiles
from runpod_flash.control_plane.volumes import Volumes
from runpod_flash.control_plane.webhooks import Webhooks
from runpod_flash.errors import BackendError
from runpod_flash.state_folder import PlaneRecord, StateFolder, process_started
from worker_runtime.wire import PROTOCOL

logger = logging.getLogger(__name__)

_COLLECT_S = 60.0


class ControlPlane:
    """One running control plane. `run` is its whole life: start, serve, drain, stop."""

    _channels: ChannelServer | None = None
    _loans: Loans

    def __init__(self, settings: PlaneSettings, state: StateFolder, spawned: Spawned | None = None) -> None:
        """`spawned`: the process of a fork server of its own interpreter, where one was started already."""
        self._settings, self._state = settings, state
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        self._shown, self._port, self._url = "starting", 0, ""
        real = settings.fake_gpus is None
        self._gpus = nvidia.detect() if real else inventory.fake(settings.fake_gpus or "")
        self._cuda = nvidia.driver_cuda() if real else settings.fake_cuda
        is_new = not state.database.exists()
        self._turn = Turn()
        self._store = Store.open(state.database, power_safe=settings.power_safe, turn=self._turn)
        self._blobs = Blobs(state.blobs)
        self._disk = DiskGuard(state.plane, lambda: self._store.size() + self._blobs.size, settings.disk_limit)
        self._hub = EventHub()
        self._engine = siting.engine_of(settings, state)
        self._catalog = Catalog(self._store)
        self._apps = Apps(self._store, self._catalog)
        self._deploys = Deploys(self._apps, self._catalog)
        self._succession = Succession(state, self._catalog, self._apps, created, is_new=is_new)
        self._expiring = Expiring(self._apps, self._catalog, self._store, settings.expiry)
        self._files = VolumeFiles(Volumes(state.volumes, settings.datacenter))
        self._api_keys = ApiKeys(state.api_keys, self._catalog)
        if settings.listen is not None:
            self._api_keys.check()
        self._fleet, self._announcer = Fleet(), Announcer(self._hub, job_object)
        self._environments = siting.environments_of(settings, state)
        self._sharing, self._dispatcher = self._shared_dispatcher()
        self._forks, site = self._launcher(spawned)
        self._supervisor = Supervisor(
            site,
            self._fleet,
            self._dispatcher,
            self._environments,
            inventory.Inventory(self._gpus, strict=settings.listen is not None, cuda=self._cuda),
            self._forks or ProcessLauncher(),
            self._announcer,
        )
        self._autoscaler = Autoscaler(self._catalog, self._fleet, self._supervisor, self._dispatcher.pools)
        self._links = LinkServer(self._supervisor, self._turn)
        self._platform = PlatformCore(
            self._store,
            self._catalog,
            self._fleet,
            self._dispatcher,
            self._environments,
            self._announcer,
            settings.terms,
        )
        self._limits, self._access = settings.limits, Access(self._catalog)
        self._seal = Seal(state.plane / "seal")
        self._served = ServedCode(self._dispatcher.pools, self._environments)
        self._preparing = Preparing(self._dispatcher.pools, self._environments, self._engine)
        self._balanced = self._balanced_workers()
        self._commands = self._command_workers()
        self._webhooks = Webhooks(self._store, self._limits, job_object)
        self._connect()

    def _shared_dispatcher(self) -> tuple[Sharing, Dispatcher]:
        """The memory that is shared, if any, and who lends it to workers."""
        sharing = Sharing(self._blobs, self._state.plane, megabytes=self._settings.shared_megabytes)
        values = sharing.open(ensure_key(self._state.key_path), self._token_of)
        artifacts = Artifacts(self._blobs)
        held = values or self._blobs
        dispatcher = Dispatcher(self._store, held, artifacts, self._fleet, self._announcer, self._turn)
        if values is not None:
            dispatcher.share(values)
        return sharing, dispatcher

    def _launcher(self, spawned: Spawned | None) -> tuple[ForkLauncher | None, Site]:
        """What forks workers, where this system can, and where they live."""
        site = siting.site_of(self._settings, self._state, self._engine, self._files.volumes, self._sharing)
        if not FORKS or not self._settings.forks:
            return None, site
        launcher = ForkLauncher(site.bundle, ProcessLauncher(), preloads=not site.must_isolate, spawned=spawned)
        return launcher, site

    def _balanced_workers(self) -> BalancedWorkers:
        return BalancedWorkers(
            self._catalog,
            self._fleet,
            self._dispatcher,
            self._supervisor,
            self._announcer,
            self._served,
            self._limits,
            self._authorize,
        )

    def _command_workers(self) -> CommandWorkers:
        return CommandWorkers(
            self._dispatcher,
            self._supervisor,
            self._platform.chunks,
            self._announcer,
            self._limits,
            self._settings.cancel_grace_s,
            self._seal.open,
            self._balanced,
        )

    def _token_of(self, worker_id: str) -> str | None:
        worker = self._supervisor.worker(worker_id)
        return None if worker is None else worker.token

    def _no_room(self, worker_id: str) -> None:
        """Tell whoever waits for a worker's result that there is no shared memory for it."""
        worker = self._supervisor.worker(worker_id)
        if worker is not None:
            for client in worker.pool.clients:
                self._announcer.notice_to(client, worker.pool, "arena-full", FULL)

    def _authorize(self, connection: HTTPConnection, endpoint_id: str) -> str | None:
        """The event stream that hears of it. Raises where it may not send requests to workers of that endpoint."""
        if not self._access.endpoint(connection, Need.RUN, endpoint_id).is_load_balanced:
            raise Problem(400, "not allowed for LB API: this endpoint takes jobs and answers no HTTP requests")
        self._expiring.used(endpoint_id)
        return client_of(connection)

    def _connect(self) -> None:
        """Tie the parts together where one must hear of another."""
        self._platform.intake.queueing.refusal = self._supervisor.refusal
        self._platform.intake.admit = self._disk.admit_job
        environments = self._state.environments
        self._platform.intake.queueing.vet = self._served.vet = self._preparing.vet = lambda endpoint, request: vet(
            endpoint.owner, request, environments, allow_apt=self._settings.allow_apt
        )
        self._platform.look.disk, self._platform.intake.unload = self._disk.to_json, Carried(self._blobs).unload
        self._platform.intake.seal = self._seal.seal
        self._platform.intake.takes_pickles = lambda endpoint: self._settings.pickles.of(endpoint.owner)
        self._platform.intake.queueing.on_end = self._job_ended
        self._dispatcher.on_end = lambda job: self._job_ended(job.record.id, calls=job.record.webhook is not None)
        self._blobs.admit = self._files.admit = self._disk.admit
        self._files.volumes.users = self._catalog.users_of_volume
        values = self._sharing.values or self._blobs
        self._webhooks.as_sent = lambda record: input_as_sent(record, values)
        self._dispatcher.results.patience_s = self._settings.disk_patience_s
        self._sharing.on_full = self._no_room
        self._dispatcher.recorder.on_refused = self._disk.reserve.give
        self._dispatcher.on_load = self._jobs_changed
        self._balanced.on_load = self._autoscaler.jobs_changed
        self._stream()
        self._lend()
        self._connect_apps()
        self._supervisor.on_capacity = self._autoscaler.capacity_changed
        if self._forks is not None:
            notices = StartNotices(self._fleet, self._announcer)
            self._forks.on_notice, self._forks.on_failed = notices.not_forked, notices.not_imported
            self._supervisor.on_loaded = self._forks.prepare
        self._catalog.on_change = self._endpoint_changed
        self._catalog.on_delete = self._endpoint_deleted

    def _connect_apps(self) -> None:
        """Lead deploys to what they change; let what nobody renews or uses scale to zero, and go after a while."""
        self._preparing.refusal = self._supervisor.refusal
        self._deploys.prepare = self._preparing.prepare
        self._deploys.check_artifact = lambda body: check_body(body, self._blobs)
        self._apps.end_jobs = self._platform.delete_endpoint_jobs
        self._platform.on_use, self._platform.look.expires_at = self._expiring.used, self._expiring.expires_at
        self._platform.look.version_of = self._apps.version_of
        self._autoscaler.rests, self._expiring.on_phase = self._expiring.rests, self._autoscaler.load_changed
        self._expiring.is_busy = self._is_busy
        self._succession.on_adopted = lambda endpoint: self._endpoint_changed(endpoint, False)

    def _is_busy(self, endpoint_id: str) -> bool:
        """Whether an endpoint has jobs or requests."""
        pools = self._fleet.of(endpoint_id)
        requests = any(pool.has_work or any(worker.requests for worker in pool.workers.values()) for pool in pools)
        return requests or self._dispatcher.number_of(endpoint_id) > 0

    def _stream(self) -> None:
        """Lead the items of generators from workers to readers."""
        dispatcher = self._dispatcher
        streams = Streams(self._platform.chunks, dispatcher.results, dispatcher.recorder, self._limits)
        dispatcher.stream_through(streams)
        self._platform.will_read, self._supervisor.on_item = streams.read, streams.item

    def _lend(self) -> None:
        loans = self._loans = Loans(self._dispatcher, self._platform.intake, self._store, self._catalog)
        self._dispatcher.lend_through(loans)
        self._supervisor.loans, loans.worker_of = loans, self._supervisor.worker
        loans.on_use = self._expiring.used

    def _jobs_changed(self, endpoint_id: str) -> None:
        self._autoscaler.jobs_changed(endpoint_id)
        self._balanced.look(endpoint_id)

    def _endpoint_changed(self, endpoint: EndpointRecord, rolled: bool) -> None:
        self._expiring.used(endpoint.id)
        if endpoint.artifact is not None:
            self._served.look(endpoint)
        self._autoscaler.endpoint_changed(endpoint, rolled)

    def _endpoint_deleted(self, endpoint_id: str) -> None:
        self._announcer.logs.forget(endpoint_id)
        self._served.forget(endpoint_id)
        self._expiring.forget(endpoint_id)
        self._autoscaler.endpoint_deleted(endpoint_id)
        self._autoscaler.load_changed(endpoint_id)
        self._balanced.look(endpoint_id)

    def _job_ended(self, job_id: str, *, calls: bool = True) -> None:
        """`calls`: it may have a webhook."""
        self._platform.chunks.changed(job_id)
        if calls:
            self._webhooks.wake(job_id)

    async def run(self) -> None:
        """Serve until asked to stop (SIGTERM, SIGINT) or idle for too long."""
        try:
            await self._live()
        finally:
            self._sharing.release()

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        settings, state = self._settings, self._state
        with listening.sockets(settings.port, state.socket, settings.listen, self._succession.wished_port()) as sockets:
            self._port, self._url = sockets.port, sockets.url
            self._succession.note_port(self._port)
            self._supervisor.api_url = f"http://127.0.0.1:{self._port}"
            await asyncio.to_thread(
                shutil.rmtree, self._supervisor.work, True
            )  # of workers whose control plane was killed
            await self._engine.sweep()
            self._show("starting")
            if self._forks is not None:
                self._forks.begin()
            await self._links.start(str(state.worker_socket))
            await self._sharing.start(state.arena_socket)
            await self._succession.begin()
            replayed = await self._platform.replay()
            for endpoint in self._catalog.list():
                if endpoint.artifact is not None:
                    self._served.look(endpoint)
            self._autoscaler.begin()
            services = self._services()
            conversations = conversations_of(services)
            self._channels = channels_of(services, conversations)
            prompt = prompt_of(services, conversations, self._platform)
            servers = listening.HttpServers(
                build_app(services, conversations), sockets, self._limits.balanced_bytes, prompt
            )
            await servers.start()
            if self._channels is not None:
                await self._channels.start(self._state.calls_socket)
            self._show("serving")
            logger.info("serving on port %d, %d jobs replayed", self._port, replayed)
            if self._url:
                logger.info("listening for others: %s", self._url)
            timers = [
                asyncio.create_task(work)
                for work in (
                    self._environments.look_at(sys.executable),
                    self._watch_leases(),
                    self._watch_idleness(),
                    self._collect(),
                    self._webhooks.run(),
                    self._api_keys.watch(),
                    self._expiring.run(),
                    self._succession.run(),
                )
            ]
            ends = [asyncio.ensure_future(end) for end in (servers.ended(), self._stop.wait())]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await self._wind_down(servers, [*timers, *ends])

    def _asked_to_stop(self) -> None:
        """The first time it drains, the second time it stops at once."""
        (self._hurry if self._stop.is_set() else self._stop).set()

    def _show(self, state: str) -> None:
        """Tell clients, and whoever looks, in which state it is. A disk that is full does not keep it from going on."""
        self._shown = state
        try:
            self._state.write_record(self._record())
        except OSError as error:
            logger.warning("the state %s cannot be written down: %s", state, error)
            if state != "serving":
                self._state.remove_record()

    async def _wind_down(self, servers: listening.HttpServers, timers: "list[asyncio.Future[Any]]") -> None:
        """Start nothing new, let what runs finish, end the workers, then the streams and the store."""
        self._dispatcher.hold()
        self._show("draining")
        self._autoscaler.close()
        for timer in timers:
            timer.cancel()
        drained = asyncio.ensure_future(self._dispatcher.drained(self._settings.drain_s))
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait([drained, hurry], return_when=asyncio.FIRST_COMPLETED)
        for waiting in (drained, hurry):
            waiting.cancel()
        self._show("stopping")
        self._dispatcher.stop()
        await self._deploys.close()
        await self._served.close()
        await self._balanced.close()
        await self._supervisor.close()
        if self._forks is not None:
            await self._forks.close()
        await self._links.close()
        await self._dispatcher.settle()
        await self._sharing.close()
        self._platform.release_waiting()
        self._hub.close()
        if self._channels is not None:
            await self._channels.close()
        try:
            await servers.stop()
        finally:
            self._store.close()

    def _services(self) -> Services:
        capabilities = {
            "protocol": PROTOCOL,
            "version": release.VERSION,
            "content": self._state.content,
            "pid": os.getpid(),
            "port": self._port,
            "gpus": [{"type": gpu.type, "memory_gb": gpu.memory_gb} for gpu in self._gpus],
        }
        return Services(
            platform=self._platform,
            catalog=self._catalog,
            blobs=self._blobs,
            values=self._sharing.values,
            loans=self._loans if self._settings.lends else None,
            turn=self._turn,
            hub=self._hub,
            key=ensure_key(self._state.key_path),
            capabilities=capabilities,
            api_keys=self._api_keys,
            files=self._files,
            deploys=self._deploys,
            expiring=self._expiring,
            worker_keys=self._supervisor.worker_keys,
            published_only=self._settings.published_only,
            url=self._url or f"http://127.0.0.1:{self._port}",
            limits=self._limits,
            workers=self._commands,
            check_webhook=self._webhooks.check,
            pickles=self._settings.pickles,
        )

    def _record(self) -> PlaneRecord:
        return PlaneRecord(
            pid=os.getpid(),
            started=process_started(os.getpid()) or time.time(),
            version=release.VERSION,
            content=self._state.content,
            protocol=PROTOCOL,
            port=self._port,
            socket=str(self._state.socket),
            worker_socket=str(self._state.worker_socket),
            state=self._shown,
            drain_s=self._settings.drain_s,
            url=self._url,
            calls="" if self._settings.published_only else str(self._state.calls_socket),
            is_new=self._succession.is_new,
        )

    async def _watch_leases(self) -> None:
        pause = self._settings.lease_s / 4
        while True:
            before = time.monotonic()
            await asyncio.sleep(pause)
            if time.monotonic() - before < 2 * pause:  # else this process was held up itself, and beats lie unread
                self._supervisor.check_leases()

    async def _watch_idleness(self) -> None:
        """Leave when nobody has been here for a while, even where an endpoint keeps a minimum of workers.

        One with an app's stage that lasts stays, since nobody who asks its endpoints would start it again.
        One that has a successor leaves as soon as the programs that use it have ended, and its jobs too. A server for
        others stays: they cannot start it again.
        """
        if self._settings.listen is not None:
            return
        limit = self._settings.idle_exit_s
        idle_since = time.monotonic()
        while True:
            await asyncio.sleep(min(limit / 4 or LOOK_S, LOOK_S))
            if self._shown == "serving" and self._succession.has_successor():
                self._show("superseded")
            if self._shown == "superseded":
                limit = min(limit or LOOK_S, LOOK_S)
            if not limit:
                continue
            quiet_since = self._balanced.quiet_since
            superseded = self._shown == "superseded"
            stays = self._succession.is_used() if superseded else self._apps.holds_endpoints()
            if stays or not self._platform.idle or self._hub.clients or quiet_since is None:
                idle_since = time.monotonic()
            elif time.monotonic() - max(idle_since, self._hub.last_left, quiet_since) > limit:
                self._stop.set()

    def _named_content(self) -> set[str]:
        """The ids of the artifacts that endpoints have, or may have again."""
        return self._catalog.content() | self._apps.content()

    async def _collect(self) -> None:
        while True:
            now, keep = time.time(), self._settings.terms.keep_s
            try:
                await self._store.collect(now)
                await self._blobs.collect(now, 2 * keep, self._fleet.content() | self._named_content())
                await asyncio.to_thread(self._files.volumes.sweep)
                self._disk.watch()
            except (BackendError, OSError) as error:
                logger.warning("old results and values cannot be removed: %s", error)
            await asyncio.sleep(_COLLECT_S)
