"""Serves the document, and Swagger's page over it: all from this server, and the browser may load nothing else."""

import functools
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_flash import lazy
from runpod_flash.control_plane.problems import Problem
from runpod_flash.errors import BackendError

_HERE: Final = Path(__file__).parent
_OURS: Final = "start.js"
_FILES: Final[Mapping[str, str]] = {
    _OURS: "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
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
        document, faces = (lazy.load(f"{__package__}.{name}") for name in ("document", "faces"))
        built: Mapping[str, Any] = document.build(faces.FACES, document.routes_of((*self._others, *self.routes())))
        return built

    async def _get_document(self, request: Request) -> Response:
        servers = [{"url": str(request.base_url).rstrip("/"), "description": "This server"}]
        return JSONResponse({**self.document, "servers": servers}, headers=_HEADERS)

    async def _get_page(self, request: Request) -> Response:
        return FileResponse(_HERE / "page.html", media_type="text/html", headers=_HEADERS)

    async def _get_file(self, request: Request) -> Response:
        name = request.path_params["file"]
        if name not in _FILES:
            raise Problem(404, f"there is no file {name!r:.80} here")
        folder = _HERE if name == _OURS else _swagger()
        return FileResponse(folder / name, media_type=_FILES[name], headers=_HEADERS)


@functools.cache
def _swagger() -> Path:
    """The folder of Swagger's files. Its package is found, not imported: that would load zipfile and tempfile."""
    package = importlib.util.find_spec("swagger_ui_bundle")
    if package is None or package.origin is None:
        raise BackendError("package swagger-ui-bundle is not installed, so there is no page; /openapi.json is there")
    return next(Path(package.origin).parent.glob("vendor/swagger-ui-*"))
