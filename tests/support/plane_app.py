"""The control plane's HTTP application over a small platform: in this process, or served on a real port."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from runpod_flash.control_plane.api.app import Services, build_app
from runpod_flash.control_plane.api_keys import ApiKeys
from runpod_flash.control_plane.apps import Apps
from runpod_flash.control_plane.blobs import Blobs
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.deploys import Deploys
from runpod_flash.control_plane.events import EventHub
from runpod_flash.control_plane.expiring import Expiring
from runpod_flash.control_plane.expiry import ExpiryTerms
from runpod_flash.control_plane.http_protocol import HttpProtocol
from runpod_flash.control_plane.own_code import check_body
from runpod_flash.control_plane.principals import OWNER, Pickles, Scope, WorkerKey
from runpod_flash.control_plane.store import Store
from runpod_flash.control_plane.volume_files import VolumeFiles
from runpod_flash.control_plane.volumes import Volumes
from tests.support.memory_platform import MemoryPlatform
from tests.support.prompt_server import PromptServer
from tests.support.waiting import wait_until

KEY = "the-key"

BODY: dict[str, Any] = {
    "name": "palette",
    "type": "QUEUE",
    "image": "runpod/flash",
    "gpu": {"pools": ["ADA_24"], "count": 1, "excludedTypes": [], "minCudaVersion": "12.8"},
    "workers": {"min": 0, "max": 3, "idleTimeout": 60},
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0},
    "env": {"A": "1"},
    "dataCenterIds": [],
    "networkVolumes": [],
    "timeout": 0,
    "flashboot": "FLASHBOOT",
}
"""What the SDK sends."""


@dataclass(frozen=True)
class PlaneApp:
    """The application, a client that has the key, and what stands behind it."""

    app: Starlette
    client: httpx.AsyncClient
    catalog: Catalog
    platform: MemoryPlatform
    blobs: Blobs
    hub: EventHub
    keys: ApiKeys
    workers: list[WorkerKey]  # that live now
    files: VolumeFiles
    deploys: Deploys
    expiring: Expiring

    async def user(self, name: str, scope: Scope = Scope.FULL, endpoints: Sequence[str] = ()) -> httpx.AsyncClient:
        """A client with a new key of this user."""
        _, key = await self.keys.create(name, scope=scope, endpoints=endpoints)
        return client_of(self.app, key)

    def worker(self, owner: str = OWNER, project: str = "") -> httpx.AsyncClient:
        """A client with the key of a new worker that runs for this user, in this project."""
        self.workers.append(WorkerKey(f"worker-key-{len(self.workers)}", f"w-{len(self.workers)}", owner, project))
        return client_of(self.app, self.workers[-1].key)

    async def endpoint(self, **changes: Any) -> str:
        """Create an endpoint; returns its id."""
        response = await self.client.post("/v2/serverless", json={**BODY, **changes})
        assert response.status_code == 201, response.text
        return str(response.json()["id"])


def client_of(app: ASGIApp, key: str) -> httpx.AsyncClient:
    """A client of the application that has this key."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://plane", headers=headers)


@contextlib.asynccontextmanager
async def plane_app(
    folder: Path, *, published_only: bool = False, pickles: Pickles = Pickles.EVERYBODY
) -> AsyncIterator[PlaneApp]:
    """An application with its state in `folder`."""
    store = Store.open(folder / "flash.db")
    catalog = Catalog(store)
    platform, hub = MemoryPlatform(catalog), EventHub()
    blobs = Blobs(folder / "blobs", value_limit=3_000_000, artifact_limit=50_000)
    keys, capabilities = ApiKeys(folder / "api_keys.json", catalog), {"protocol": 1, "gpus": []}
    workers: list[WorkerKey] = []
    files = VolumeFiles(Volumes(folder / "volumes"))
    files.volumes.users = catalog.users_of_volume
    deploys = Deploys(Apps(store, catalog), catalog)
    deploys.apps.end_jobs = platform.delete_endpoint_jobs
    deploys.check_artifact = lambda body: check_body(body, blobs)
    expiring = Expiring(deploys.apps, catalog, store, ExpiryTerms())
    services = Services(
        platform,
        catalog,
        blobs,
        hub,
        KEY,
        capabilities,
        keys,
        files,
        deploys,
        expiring,
        lambda: workers,
        published_only=published_only,
        pickles=pickles,
    )
    app = build_app(services)
    async with client_of(app, KEY) as client:
        yield PlaneApp(app, client, catalog, platform, blobs, hub, keys, workers, files, deploys, expiring)
    store.close()


@contextlib.asynccontextmanager
async def served(plane: PlaneApp) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application on a real loopback port, where streams stream."""
    async with served_app(plane.app, plane.hub) as client:
        yield client


@contextlib.asynccontextmanager
async def served_app(app: ASGIApp, hub: EventHub) -> AsyncIterator[httpx.AsyncClient]:
    """The same, of any application; the hub is closed before it ends."""
    config = uvicorn.Config(
        app, http=HttpProtocol, port=0, log_level="warning", lifespan="off", timeout_graceful_shutdown=5
    )
    server = PromptServer(config)
    serving = asyncio.create_task(server._serve())  # `serve` would take the signals of the test process
    await asyncio.to_thread(wait_until, lambda: server.started or serving.done())
    port = server.servers[0].sockets[0].getsockname()[1]
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False) as client:
        yield client
    hub.close()
    server.end()
    await asyncio.wait_for(serving, 10)
