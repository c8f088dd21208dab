"""Swagger's page over a document: which files it needs, where they lie, and what a browser may load there."""

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runpod_flash.errors import BackendError

_OURS: Final = "start.js"

FILES: Final[Mapping[str, str]] = {
    _OURS: "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
"""What the page loads, with its media type."""

HEADERS: Final[Mapping[str, str]] = {
    # Swagger's own styles have images as data; scripts and styles in the page itself are refused
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Of the page, of its files and of its document."""


def path_of(name: str, own: Path) -> Path:
    """Where one of `FILES` lies: what starts the page in the folder `own`, all others in Swagger's package.

    Raises:
        BackendError: that is not installed.
    """
    return (own if name == _OURS else _package()) / name


@functools.cache
def _package() -> Path:
    """It is found, not imported: that would load zipfile and tempfile."""
    package = importlib.util.find_spec("swagger_ui_bundle")
    if package is None or package.origin is None:
        raise BackendError("package swagger-ui-bundle is not installed, so there is no page; /openapi.json is there")
    return next(Path(package.origin).parent.glob("vendor/swagger-ui-*"))
