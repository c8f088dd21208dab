"""Serves the document, and Swagger's page over it: all from this server, and the browser may load nothing else."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import swagger_ui_bundle
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api.openapi import document
from runpod_flash.control_plane.api.openapi.faces import FACES
from runpod_flash.control_plane.problems import Problem

_HERE: Final = Path(__file__).parent
_SWAGGER: Final = Path(str(swagger_ui_bundle.swagger_ui_path))
_FILES: Final[Mapping[str, tuple[Path, str]]] = {
    "swagger-ui-bundle.js": (_SWAGGER, "text/javascript"),
    "swagger-ui.css": (_SWAGGER, "text/css"),
    "favicon-32x32.png": (_SWAGGER, "image/png"),
    "start.js": (_HERE, "text/javascript"),
}
_HEADERS: Final[Mapping[str, str]] = {
    # Swagger's own styles have images as data; scripts and styles in the page itself are refused
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


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
        return document.build(FACES, document.routes_of((*self._others, *self.routes())))

    async def _get_document(self, request: Request) -> Response:
        servers = [{"url": str(request.base_url).rstrip("/"), "description": "This server"}]
        return JSONResponse({**self.document, "servers": servers}, headers=_HEADERS)

    async def _get_page(self, request: Request) -> Response:
        return FileResponse(_HERE / "page.html", media_type="text/html", headers=_HEADERS)

    async def _get_file(self, request: Request) -> Response:
        name = request.path_params["file"]
        if name not in _FILES:
            raise Problem(404, f"there is no file {name!r:.80} here")
        folder, media = _FILES[name]
        return FileResponse(folder / name, media_type=media, headers=_HEADERS)
