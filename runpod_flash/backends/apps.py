"""Apps and their stages over HTTP, where the platform has `/flash/v1/`."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import quote

from runpod_flash.backends.base import Json, OnProgress, quietly
from runpod_flash.backends.connection import Connection
from runpod_flash.backends.events import Lines
from runpod_flash.errors import AppNotFound, BackendError, BackendUnavailable, EndpointNotFound, StageNotFound

_COLLECTION = "/flash/v1/apps"


class HttpApps:
    """See `AppStore`. `json` makes a request as `Connection.send` and gives the object that is answered."""

    def __init__(self, connection: Connection, json: Callable[..., Awaitable[Json]]) -> None:
        self._connection, self._json = connection, json

    async def all(self, *, ephemeral: bool = False) -> list[Json]:
        await self._ready()
        params = {"ephemeral": "true"} if ephemeral else {}
        return list((await self._json("GET", _COLLECTION, params=params)).get("apps", []))

    async def get(self, app: str) -> Json:
        await self._ready()
        return await self._json("GET", _app(app), missing=AppNotFound)

    async def create(self, app: str) -> Json:
        await self._ready()
        return await self._json("POST", _COLLECTION, json={"name": app}, repeat=False)

    async def delete(self, app: str) -> None:
        await self._ready()
        await self._connection.send("DELETE", _app(app), missing=AppNotFound)

    async def create_stage(self, app: str, stage: str, *, expires_in: int | None = None, label: str = "") -> Json:
        await self._ready()
        body = {"name": stage, "label": label, **({} if expires_in is None else {"expiresIn": expires_in})}
        return await self._json("POST", f"{_app(app)}/stages", json=body, repeat=False)

    async def stage(self, app: str, stage: str) -> Json:
        await self._ready()
        return await self._json("GET", _stage(app, stage), missing=StageNotFound)

    async def delete_stage(self, app: str, stage: str) -> None:
        await self._ready()
        await self._connection.send("DELETE", _stage(app, stage), missing=StageNotFound)

    async def delete_endpoint(self, app: str, stage: str, endpoint: str) -> None:
        await self._ready()
        path = f"{_stage(app, stage)}/endpoints/{quote(endpoint, safe='')}"
        await self._connection.send("DELETE", path, missing=EndpointNotFound)

    async def renew(self, app: str, stage: str) -> str | None:
        await self._ready()
        renewed = await self._json("POST", f"{_stage(app, stage)}/renew", json={}, missing=StageNotFound)
        return None if renewed.get("expiresAt") is None else str(renewed["expiresAt"])

    async def deploy(
        self, app: str, stage: str, manifest: Json, *, base: int, prune: bool = False, on_progress: OnProgress = quietly
    ) -> Json:
        body = {"manifest": dict(manifest), "base": base, "prune": prune}
        return await self._follow(f"{_stage(app, stage)}/deploy", body, on_progress)

    async def roll_back(
        self, app: str, stage: str, version: int | None = None, *, on_progress: OnProgress = quietly
    ) -> Json:
        body = {} if version is None else {"version": version}
        return await self._follow(f"{_stage(app, stage)}/rollback", body, on_progress)

    async def collect(self, *, dry_run: bool = False) -> list[Json]:
        await self._ready()
        return list((await self._json("POST", "/flash/v1/gc", json={"dryRun": dry_run})).get("removed", []))

    async def _follow(self, path: str, body: Json, on_progress: OnProgress) -> Json:
        """Ask for something that takes long; `on_progress` hears how far it is. Gives the result."""
        await self._ready()

        async def take(pieces: AsyncIterator[bytes]) -> Json:
            lines = Lines()
            async for piece in pieces:
                for event in lines.feed(piece):
                    if event.get("event") in ("done", "failed"):
                        return event
                    if event.get("event") != "beat":
                        on_progress(event)
            raise BackendUnavailable(
                f"{self._connection.platform} went away before it said how it ended; `flash env get` shows what is "
                "there, and the next deploy completes it"
            )

        end = await self._connection.follow(path, body, take, StageNotFound)
        if end.get("event") == "failed":
            raise self._connection.refusal(int(end.get("status", 500)), json.dumps(end).encode(), f"POST {path}")
        return {name: value for name, value in end.items() if name != "event"}

    async def _ready(self) -> None:
        """Raise BackendError where the platform has no apps."""
        await self._connection.ready()
        if not self._connection.streams:
            raise BackendError(
                f"{self._connection.platform} has the published API alone, which knows no apps and no deploys; use a "
                "control plane of this framework: `flash target use local`, or the URL of a `flash server`"
            )


def _app(app: str) -> str:
    return f"{_COLLECTION}/{quote(app, safe='')}"


def _stage(app: str, stage: str) -> str:
    return f"{_app(app)}/stages/{quote(stage, safe='')}"
