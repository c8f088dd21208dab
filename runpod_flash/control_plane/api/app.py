"""The application: all faces, behind the key, with problems for errors."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp

from runpod_flash.control_plane.api.access import Access, streams_of
from runpod_flash.control_plane.api.app_jobs import AppJobs
from runpod_flash.control_plane.api.apps_api import AppsApi
from runpod_flash.control_plane.api.calls_api import CallsApi
from runpod_flash.control_plane.api.channel import ChannelServer
from runpod_flash.control_plane.api.conversation import Conversations
from runpod_flash.control_plane.api.flash_jobs import FlashJobsApi
from runpod_flash.control_plane.api.flash_v1 import FlashApi
from runpod_flash.control_plane.api.job_routes import JobRoutes, JobsFirst
from runpod_flash.control_plane.api.jobs import JobsApi
from runpod_flash.control_plane.api.keys_api import KeysApi
from runpod_flash.control_plane.api.logins_api import LoginsApi
from runpod_flash.control_plane.api.look_api import LookApi
from runpod_flash.control_plane.api.management_v2 import ManagementApi
from runpod_flash.control_plane.api.network_volumes import NetworkVolumesApi
from runpod_flash.control_plane.api.openai import OpenAiApi
from runpod_flash.control_plane.api.openapi.pages import OpenApi
from runpod_flash.control_plane.api.prompt_jobs import PromptJobs, PromptPlatform
from runpod_flash.control_plane.api.volume_access import VolumeAccess
from runpod_flash.control_plane.api.volume_files_api import VolumeFilesApi
from runpod_flash.control_plane.api.workers import WorkersApi
from runpod_flash.control_plane.api_keys import ApiKeys
from runpod_flash.control_plane.balancing.hosts import PREFIX, HostRouting, PathRouting, endpoint_of_host
from runpod_flash.control_plane.blobs import Blobs
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.command_workers import CommandWorkers
from runpod_flash.control_plane.deploys import Deploys
from runpod_flash.control_plane.events import EventHub
from runpod_flash.control_plane.expiring import Expiring
from runpod_flash.control_plane.keys import AuthMiddleware, Keyring
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.loans import Loans
from runpod_flash.control_plane.logins import Logins
from runpod_flash.control_plane.own_code import check_body
from runpod_flash.control_plane.platform import Platform
from runpod_flash.control_plane.principals import Pickles, Principal, WorkerKey
from runpod_flash.control_plane.problems import LastResort, handlers
from runpod_flash.control_plane.rates import Rates
from runpod_flash.control_plane.shared_values import SharedValues
from runpod_flash.control_plane.turn import Turn
from runpod_flash.control_plane.volume_files import VolumeFiles


@dataclass(frozen=True, slots=True)
class Services:
    """What the faces are faces of.

    Attributes:
        capabilities: the answer to `GET /flash/v1/capabilities`.
        files: those of network volumes, and the volumes.
        deploys: to stages of apps, and these.
        expiring: removes what has expired.
        worker_keys: gives the keys of the workers that live now.
        workers: serves those that run commands.
        published_only: leaves out all below `/flash/v1/`.
        url: where this server is found.
        check_webhook: refuses the URLs that no job may call.
        pickles: whose pickles workers load.
        values: finds values in shared memory, too, where some is.
        loans: lends workers to clients.
        turn: at whose end frames to clients leave.
    """

    platform: Platform
    catalog: Catalog
    blobs: Blobs
    hub: EventHub
    key: str = field(repr=False)
    capabilities: Mapping[str, Any]
    api_keys: ApiKeys
    files: VolumeFiles
    deploys: Deploys
    expiring: Expiring
    worker_keys: Callable[[], Iterable[WorkerKey]] = tuple
    limits: Limits = Limits()  # noqa: RUF009 - frozen
    workers: CommandWorkers | None = None
    published_only: bool = False
    url: str = "http://127.0.0.1"
    check_webhook: Callable[[str], None] = lambda url: None
    pickles: Pickles = Pickles.EVERYBODY
    values: SharedValues | None = None
    loans: Loans | None = None
    turn: Turn | None = None


def conversations_of(services: Services) -> Conversations:
    """What all that speaks in frames shares with the HTTP faces."""
    access, rates = Access(services.catalog), Rates(services.limits)
    return Conversations(services.platform, access, services.limits, rates, services.check_webhook, services.loans)


def channels_of(services: Services, conversations: Conversations) -> ChannelServer | None:
    """What serves the socket for frames; None where there is nothing but the published API."""
    if services.published_only:
        return None

    def welcome(principal: Principal) -> dict[str, Any]:
        return {**services.capabilities, "pickles": services.pickles.of(principal.user)}

    return ChannelServer(conversations, services.hub, keyring_of(services).principal, welcome, services.turn)


def keyring_of(services: Services) -> Keyring:
    """The keys that open this control plane."""
    return Keyring(services.key, services.worker_keys, services.api_keys)


def prompt_of(services: Services, conversations: Conversations, platform: PromptPlatform) -> PromptJobs:
    """What takes requests of the job API before the app does."""
    jobs = JobsApi(platform, conversations.access, services.limits, conversations.rates, services.check_webhook)
    serves = services.workers.balanced.serves if services.workers is not None else lambda endpoint: False
    return PromptJobs(
        JobRoutes(jobs, None),
        jobs,
        platform,
        keyring_of(services).principal,
        lambda scope: endpoint_of_host(scope, serves) is not None,
    )


def build_app(services: Services, conversations: Conversations | None = None) -> Starlette:
    """The ASGI application. It starts and stops nothing: whoever serves it closes the hub before the server stops."""
    # The streams of a user's other keys end too, and come back.
    services.api_keys.on_revoke = lambda user: services.hub.disconnect(streams_of(user))
    conversations = conversations or conversations_of(services)
    access, rates = conversations.access, conversations.rates
    volumes, apps = VolumeAccess(services.files.volumes), services.deploys.apps
    jobs = JobRoutes(
        JobsApi(services.platform, access, services.limits, rates, services.check_webhook),
        None if services.published_only else AppJobs(apps),
    )
    own: list[BaseRoute] = [
        *FlashJobsApi(services.platform, access).routes(),
        *CallsApi(conversations).routes(),
        *FlashApi(
            services.platform,
            access,
            services.blobs,
            services.values,
            services.hub,
            services.capabilities,
            services.pickles,
            services.url,
        ).routes(),
        *LookApi(services.platform, services.catalog, access).routes(),
        *KeysApi(services.api_keys).routes(),
        *LoginsApi(Logins(services.api_keys)).routes(),
        *VolumeFilesApi(services.files).routes(),
        *AppsApi(apps, services.deploys, services.expiring, volumes, services.url).routes(),
    ]
    faces = [
        *ManagementApi(
            services.catalog,
            services.platform,
            access,
            volumes,
            services.url,
            lambda body: check_body(body, services.blobs),
            services.expiring.used,
        ).routes(),
        *NetworkVolumesApi(services.files.volumes).routes(),
        jobs,
        *OpenAiApi(services.platform, access, services.limits, rates).routes(),
        *_worker_routes(services.workers, services.limits),
        *(() if services.published_only else own),
    ]
    app = Starlette(routes=[*OpenApi(faces).routes(), *faces])
    app.router.redirect_slashes = False  # a path is one place
    app.middleware_stack = _stack(services, app, jobs)
    return app


def _stack(services: Services, app: Starlette, jobs: JobRoutes) -> ASGIApp:
    """What each request goes through, from the inside out. Starlette's own stack would answer failures before ours."""
    stack: ASGIApp = JobsFirst(ExceptionMiddleware(app.router, handlers()), jobs)
    if services.workers is not None:
        balanced = services.workers.balanced
        stack = HostRouting(stack, balanced.gateway, balanced.serves)
    return LastResort(AuthMiddleware(stack, keyring_of(services).principal))


def _worker_routes(workers: CommandWorkers | None, limits: Limits) -> list[BaseRoute]:
    """What workers that run commands ask for, and what is asked of them."""
    if workers is None:
        return []
    protocol = WorkersApi(workers.desk, workers.answers, workers.find, limits).routes()
    return [*protocol, Mount(PREFIX, PathRouting(workers.balanced.gateway))]
