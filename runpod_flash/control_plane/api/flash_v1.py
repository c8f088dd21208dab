"""What Runpod's API has no place for: capabilities, artifacts, values, event streams, instances, status."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api import access
from runpod_flash.control_plane.api.access import Access
from runpod_flash.control_plane.api.addresses import url_for
from runpod_flash.control_plane.api.bodies import ID_LIMIT, swallow
from runpod_flash.control_plane.blobs import Blobs
from runpod_flash.control_plane.events import EventHub
from runpod_flash.control_plane.pieces import Gap, Piece, Pieces
from runpod_flash.control_plane.platform import Platform
from runpod_flash.control_plane.principals import Need, Pickles
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.shared_values import SharedValues
from runpod_flash.control_plane.views import requests_url
from runpod_flash.errors import ContentNotFound, FlashError
from worker_runtime.wire import calls
from worker_runtime.wire.errors import WireError

OFFSET = "Upload-Offset"
"""The header that says how many bytes of an artifact have arrived."""


class FlashApi:
    """The routes below `/flash/v1`.

    Artifacts and values belong to nobody: they are named by what they hash to, and whoever knows that name knows what
    it names, or was told it by one who does, and may have it.
    """

    def __init__(
        self,
        platform: Platform,
        allowed: Access,
        blobs: Blobs,
        values: SharedValues | None,
        hub: EventHub,
        capabilities: Mapping[str, Any],
        pickles: Pickles,
        url: str,
    ) -> None:
        """`url`: where this server is found by those who came by its unix socket."""
        self._url = url
        self._platform = platform
        self._access = allowed
        self._blobs = blobs
        self._values = values
        self._pieces = Pieces(blobs)
        self._hub = hub
        self._capabilities = dict(capabilities)
        self._pickles = pickles

    def routes(self) -> list[BaseRoute]:
        """All routes of this face."""
        return [
            Route("/flash/v1/capabilities", self._get_capabilities, methods=["GET"]),
            Route("/flash/v1/events", self._get_events, methods=["GET"]),
            Route("/flash/v1/artifacts/{id}", self._artifact, methods=["HEAD", "PUT"]),
            Route("/flash/v1/values/{id}", self._value, methods=["HEAD", "GET", "PUT"]),
            Route("/flash/v1/instances/{id}", self._drop_instance, methods=["DELETE"]),
            Route("/flash/v1/status", self._get_status, methods=["GET"]),
        ]

    async def _get_capabilities(self, request: Request) -> Response:
        pickles = self._pickles.of(access.principal_of(request).user)
        return JSONResponse({**self._capabilities, "pickles": pickles, "calls": True})

    async def _get_events(self, request: Request) -> Response:
        client = request.query_params.get("client", "")
        if not 1 <= len(client) <= ID_LIMIT:
            raise Problem(400, f"query parameter 'client' must be an id of 1 to {ID_LIMIT} characters")
        framed = request.headers.get("Accept") == calls.MEDIA_TYPE
        stream = self._hub.stream(access.stream_of(request, client), framed=framed)
        return StreamingResponse(stream, media_type=calls.MEDIA_TYPE if framed else "application/x-ndjson")

    async def _artifact(self, request: Request) -> Response:
        artifact_id = request.path_params["id"]
        if request.method == "PUT":
            self._access.check(access.principal_of(request), Need.MANAGE)
            if (piece := request.headers.get("Content-Range")) is not None:
                return await self._put_piece(request, artifact_id, Piece.parse(piece))
            size = await self._blobs.put_artifact(artifact_id, request.stream())
            return JSONResponse({"id": artifact_id, "size": size}, status_code=201)
        try:
            size = self._blobs.artifact_path(artifact_id).stat().st_size
        except FileNotFoundError:
            received = self._pieces.received(access.principal_of(request).user, artifact_id)
            raise _absent("artifact", artifact_id, {OFFSET: str(received)} if received else {}) from None
        return Response(headers={"Content-Length": str(size)})

    async def _put_piece(self, request: Request, artifact_id: str, piece: Piece) -> Response:
        user, stream = access.principal_of(request).user, request.stream()
        try:
            received = await self._pieces.put(user, artifact_id, piece, stream)
        except (FlashError, WireError) as error:
            await swallow(stream)
            if isinstance(error, Gap):
                raise Problem(409, str(error), headers={OFFSET: str(error.received)}) from None
            raise
        if received == piece.total:
            return JSONResponse({"id": artifact_id, "size": received}, status_code=201)
        return JSONResponse({"received": received}, status_code=202, headers={OFFSET: str(received)})

    async def _value(self, request: Request) -> Response:
        sha256 = request.path_params["id"]
        if request.method == "PUT":
            self._access.check(access.principal_of(request), Need.RUN)
            size = await self._blobs.put(sha256, request.stream())
            return JSONResponse({"sha256": sha256, "size": size}, status_code=201)
        pieces = None if self._values is None else self._values.pieces(sha256)
        if pieces is not None:
            return StreamingResponse(pieces, media_type="application/octet-stream")
        try:
            return FileResponse(self._blobs.path(sha256), media_type="application/octet-stream")
        except FileNotFoundError:
            raise _absent("value", sha256) from None

    async def _drop_instance(self, request: Request) -> Response:
        self._access.check(access.principal_of(request), Need.RUN)
        await self._platform.drop_instance(request.path_params["id"], self._access.sees(request))
        return Response(status_code=204)

    async def _get_status(self, request: Request) -> Response:
        shown = dict(self._platform.overview(self._access.sees(request)))
        if not access.principal_of(request).is_admin:
            shown.pop("disk", None)
        shown["user"] = access.principal_of(request).user
        base = url_for(request, self._url)
        shown["endpoints"] = [
            {**each, "url": requests_url(each["id"], base, balanced=each["type"] == "LOAD_BALANCER")}
            for each in shown["endpoints"]
        ]
        return JSONResponse(shown)


def _absent(kind: str, name: str, headers: Mapping[str, str] | None = None) -> Problem:
    return Problem(404, f"there is no {kind} {name}", code=ContentNotFound.__name__, headers=headers)
