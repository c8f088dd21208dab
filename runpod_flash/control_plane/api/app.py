"""The application: all faces, behind the key, with problems for errors."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware

from runpod_flash.control_plane.api.access import Access
from runpod_flash.control_plane.api.flash_jobs import FlashJobsApi
from runpod_flash.control_plane.api.flash_v1 import FlashApi
from runpod_flash.control_plane.api.jobs import JobsApi
from runpod_flash.control_plane.api.keys_api import KeysApi
from runpod_flash.control_plane.api.management_v2 import ManagementApi
from runpod_flash.control_plane.api_keys import ApiKeys
from runpod_flash.control_plane.blobs import Blobs
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.events import EventHub
from runpod_flash.control_plane.keys import AuthMiddleware, Keyring
from runpod_flash.control_plane.platform import Platform
from runpod_flash.control_plane.principals import WorkerKey
from runpod_flash.control_plane.problems import LastResort, handlers


@dataclass(frozen=True, slots=True)
class Services:
    """What the faces are faces of. `capabilities` is the answer to `GET /flash/v1/capabilities`,
    `worker_keys` gives the keys of the workers that live now."""

    platform: Platform
    catalog: Catalog
    blobs: Blobs
    hub: EventHub
    key: str = field(repr=False)
    capabilities: Mapping[str, Any]
    api_keys: ApiKeys
    worker_keys: Callable[[], Iterable[WorkerKey]] = tuple


def build_app(services: Services) -> Starlette:
    """The ASGI application. It starts and stops nothing: whoever serves it closes the hub before the server stops."""
    access = Access(services.catalog)
    keyring = Keyring(services.key, services.worker_keys, services.api_keys)
    return Starlette(
        routes=[
            *ManagementApi(services.catalog, services.platform, access).routes(),
            *JobsApi(services.platform).routes(),
            *FlashJobsApi(services.platform, access).routes(),
            *FlashApi(services.platform, access, services.blobs, services.hub, services.capabilities).routes(),
            *KeysApi(services.api_keys, services.hub).routes(),
        ],
        middleware=[
            Middleware(LastResort),
            Middleware(AuthMiddleware, identify=keyring.principal),
        ],
        exception_handlers=handlers(),
    )
