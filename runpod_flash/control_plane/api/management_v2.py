"""Runpod's REST API v2 as far as endpoints go: list, create, read, change and delete them below `/v2/serverless`."""

from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api import serverless_body
from runpod_flash.control_plane.api.bodies import json_object
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.platform import Platform
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.views import endpoint_object, workers_object

BODY_LIMIT = 1024**2


class ManagementApi:
    """The routes below `/v2/serverless`.

    The header X-Flash-Project (a folder, percent-encoded) is the scope of names: with it, the list shows that project's
    endpoints and new ones belong to it; without it, the list shows all and new ones have the scope "".
    """

    def __init__(self, catalog: Catalog, platform: Platform) -> None:
        self._catalog = catalog
        self._platform = platform

    def routes(self) -> list[BaseRoute]:
        """All routes of this face. They stand before those of the job API, whose `{endpoint}` would match too."""
        return [
            Route("/v2/serverless", self._collection, methods=["GET", "POST"]),
            Route("/v2/serverless/{id}", self._one, methods=["GET", "PATCH", "DELETE"]),
            Route("/v2/serverless/{id}/workers", self._workers, methods=["GET"]),
        ]

    async def _collection(self, request: Request) -> Response:
        project = _project(request)
        if request.method == "POST":
            body = serverless_body.created(await json_object(request, BODY_LIMIT))
            return JSONResponse(_shown(request, await self._catalog.create(project or "", body)), status_code=201)
        return JSONResponse({"endpoints": [_shown(request, record) for record in self._catalog.list(project)]})

    async def _one(self, request: Request) -> Response:
        endpoint_id = request.path_params["id"]
        if request.method == "DELETE":
            await self._catalog.delete(endpoint_id)  # first, so that no new job gets in
            await self._platform.delete_endpoint_jobs(endpoint_id)
            return Response(status_code=204)
        if request.method == "PATCH":
            patch = await json_object(request, BODY_LIMIT)
            record = await self._catalog.update(endpoint_id, lambda body: serverless_body.patched(body, patch))
            return JSONResponse(_shown(request, record))
        return JSONResponse(_shown(request, self._catalog.get(endpoint_id)))

    async def _workers(self, request: Request) -> Response:
        record = self._catalog.get(request.path_params["id"])
        return JSONResponse(workers_object(record, self._platform.workers(record.id)))


def _project(request: Request) -> str | None:
    header = request.headers.get("X-Flash-Project")
    return None if header is None else unquote(header)


def _shown(request: Request, record: EndpointRecord) -> dict[str, Any]:
    return endpoint_object(record, str(request.base_url))
