"""The network volumes of a platform over HTTP: as published, and their files where the platform has `/flash/v1/`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from runpod_flash.backends.base import Json
from runpod_flash.backends.connection import Connection
from runpod_flash.errors import BackendError, VolumeNotFound

_COLLECTION = "/v2/network-volumes"
_PIECE = 1024**2


def scope_header(scope: str) -> dict[str, str]:
    """The header that says in which scope names are unique; none where they are global.

    A header holds no more than ASCII, a path may hold all: percent signs stand for the rest.
    """
    return {"X-Flash-Project": quote(scope, safe="/ !#$&'()*+,:;=?@[]~")} if scope else {}


class HttpVolumes:
    """See `VolumeStore`.

    `json` makes a request as `Connection.send` and gives the object that is answered. `scope`: the headers that say
    whose project it is.
    """

    def __init__(self, connection: Connection, json: Callable[..., Awaitable[Json]], scope: Mapping[str, str]) -> None:
        self._connection, self._json = connection, json
        self._scope = scope

    def within(self, scope: str) -> "HttpVolumes":
        return HttpVolumes(self._connection, self._json, scope_header(scope))

    async def find(self, name: str, datacenter: str) -> Json | None:
        listed = (await self._json("GET", _COLLECTION, headers=self._scope)).get("networkVolumes")
        if not isinstance(listed, list):
            raise BackendError(f"{self._connection.platform} lists no network volumes; is the URL right?")
        return next((each for each in listed if (each.get("name"), each.get("dataCenter")) == (name, datacenter)), None)

    async def get(self, volume_id: str) -> Json:
        return await self._json("GET", f"{_COLLECTION}/{quote(volume_id, safe='')}", missing=VolumeNotFound)

    async def create(self, name: str, size: int, datacenter: str) -> Json:
        body = {"name": name, "size": size, "dataCenter": datacenter}
        return await self._json("POST", _COLLECTION, json=body, headers=self._scope, repeat=False)

    async def use(self, volume_id: str) -> Json:
        return await self._json("GET", await self._path(volume_id), missing=VolumeNotFound)

    async def entries(self, volume_id: str, path: str) -> tuple[str, list[Json]]:
        place, after, found = f"{await self._path(volume_id)}/files", "", list[Json]()
        while True:
            params = {"path": path, "after": after}
            listed = await self._json("GET", place, params=params, missing=VolumeNotFound)
            found += listed["entries"]
            if not listed.get("more") or not listed["entries"]:
                return str(listed["kind"]), found
            after = str(listed["entries"][-1]["name"])

    async def read(self, volume_id: str, path: str, target: Path) -> None:
        async def take(pieces: AsyncIterator[bytes]) -> None:
            with await asyncio.to_thread(open, target, "wb") as file:
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)

        place = f"{await self._path(volume_id)}/file"
        await self._connection.download(place, take, VolumeNotFound, {"path": path})

    async def write(self, volume_id: str, path: str, source: Path) -> None:
        size = source.stat().st_size
        place = f"{await self._path(volume_id)}/file"
        await self._connection.upload(place, lambda: _pieces(source, size), size, VolumeNotFound, {"path": path})

    async def make_folder(self, volume_id: str, path: str) -> None:
        place = f"{await self._path(volume_id)}/folder"
        await self._connection.send("PUT", place, params={"path": path}, missing=VolumeNotFound)

    async def delete(self, volume_id: str, path: str) -> None:
        place = f"{await self._path(volume_id)}/file"
        await self._connection.send("DELETE", place, params={"path": path}, missing=VolumeNotFound)

    async def _path(self, volume_id: str) -> str:
        """Where the files of a volume are. Raises BackendError where this platform gives nobody files."""
        await self._connection.ready()
        if not self._connection.streams:
            raise BackendError(
                f"{self._connection.platform} has the published API alone, by which files of network volumes neither "
                "come nor go; on Runpod use its S3 API: https://s3api-<data center in small letters>.runpod.io/, the "
                f"bucket is the volume's id, {volume_id}; or let a function of an endpoint with the volume read and "
                "write them"
            )
        return f"/flash/v1/volumes/{quote(volume_id, safe='')}"


async def _pieces(source: Path, size: int) -> AsyncIterator[bytes]:
    """So many bytes of a file. One that has become shorter meanwhile is not sent as a whole."""
    left = size
    with await asyncio.to_thread(open, source, "rb") as file:
        while left and (piece := await asyncio.to_thread(file.read, min(_PIECE, left))):
            left -= len(piece)
            yield piece
    if left:
        raise BackendError(f"{source} has become shorter while it was sent; send it again when it is whole")
