"""Serves the document, and Swagger's page over it: all from this server, and the browser may load nothing else."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_flash import lazy, swagger
from runpod_flash.control_plane.problems import Problem

_HERE: Final = Path(__file__).parent


class OpenApi:
    """The routes of the document and of its page. `others` are the routes that are served beside them."""

    def __init__(self, others: Iterable[BaseRoute]) -> None:
        self._others = tuple(others)

    def routes(self) -> list[BaseRoute]:
        """All routes of this face. They stand before those of the job API, whose `{endpoint}` would match too."""
        return [
            Route("/openapi.json", self._get_document, methods=["GET"]),
            Route("/v2/openapi.json", self._get_document, methods=["GET"]),
            Route("/docs", self._get_page, methods=["GET"]),
            Route("/docs/{file}", self._get_file, methods=["GET"]),
        ]

    @functools.cached_property
    def document(self) -> Mapping[str, Any]:
        """The document without `servers`; built when it is asked for first."""
        document, faces = (lazy.load(f"{__package__}.{name}") for name in ("document", "faces"))
        built: Mapping[str, Any] = document.build(faces.FACES, document.routes_of((*self._others, *self.routes())))
        return built

    async def _get_document(self, request: Request) -> Response:
        servers = [{"url": str(request.base_url).rstrip("/"), "description": "This server"}]
        return JSONResponse({**self.document, "servers": servers}, headers=swagger.HEADERS)

    async def _get_page(self, request: Request) -> Response:
        return FileResponse(_HERE / "page.html", media_type="text/html", headers=swagger.HEADERS)

    async def _get_file(self, request: Request) -> Response:
        name = request.path_params["file"]
        if name not in swagger.FILES:
            raise Problem(404, f"there is no file {name!r:.80} here")
        return FileResponse(swagger.path_of(name, _HERE), media_type=swagger.FILES[name], headers=swagger.HEADERS)
