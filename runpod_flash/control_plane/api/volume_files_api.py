"""The files of network volumes, which Runpod's API has no place for: listed, fetched, put, deleted."""

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api.bodies import ID_LIMIT, swallow
from runpod_flash.control_plane.api.volume_access import VolumeAccess
from runpod_flash.control_plane.principals import Need
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.volume_files import GB, VolumeFiles
from runpod_flash.errors import FlashError


class VolumeFilesApi:
    """The routes below `/flash/v1/volumes`. Which file or folder is meant stands in the query parameter `path`."""

    def __init__(self, files: VolumeFiles) -> None:
        self._files = files
        self._access = VolumeAccess(files.volumes)

    def routes(self) -> list[BaseRoute]:
        """All routes of this face."""
        return [
            Route("/flash/v1/volumes/{id}", self._use, methods=["GET"]),
            Route("/flash/v1/volumes/{id}/files", self._list, methods=["GET"]),
            Route("/flash/v1/volumes/{id}/file", self._file, methods=["GET", "PUT", "DELETE"]),
            Route("/flash/v1/volumes/{id}/folder", self._make_folder, methods=["PUT"]),
        ]

    async def _use(self, request: Request) -> Response:
        record = self._access.volume(request, Need.READ)
        used = await self._files.used(record)
        return JSONResponse({"id": record.id, "name": record.name, "size": record.size * GB, "used": used})

    async def _list(self, request: Request) -> Response:
        record = self._access.volume(request, Need.READ)
        path, after = request.query_params.get("path", "/"), request.query_params.get("after", "")
        if len(after) > ID_LIMIT:
            raise Problem(400, f"query parameter 'after' has {len(after)} characters; at most {ID_LIMIT} are allowed")
        return JSONResponse(asdict(await self._files.entries(record, path, after)))

    async def _file(self, request: Request) -> Response:
        if request.method in ("GET", "HEAD"):
            record = self._access.volume(request, Need.READ)
            size, stream = await self._files.read(record, _path(request))
            headers = {"Content-Length": str(size)}
            return StreamingResponse(stream, media_type="application/octet-stream", headers=headers)
        record = self._access.volume(request, Need.MANAGE)
        path = _path(request)
        if request.method == "DELETE":
            await self._files.delete(record, path)
            return Response(status_code=204)
        stream = request.stream()
        try:
            size = await self._files.put(record, path, stream, _announced(request))
        except FlashError:
            await swallow(stream)
            raise
        return JSONResponse({"path": path, "size": size}, status_code=201)

    async def _make_folder(self, request: Request) -> Response:
        record = self._access.volume(request, Need.MANAGE)
        await self._files.make_folder(record, _path(request))
        return Response(status_code=204)


def _path(request: Request) -> str:
    if "path" not in request.query_params:
        raise Problem(400, "query parameter 'path' is missing; it names a file or folder of the volume")
    return request.query_params["path"]


def _announced(request: Request) -> int | None:
    length = request.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else None
