"""The dev server's own pages: what there is, `/ping`, and Swagger over the project's document."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from flash_cli.dev import document
from flash_cli.dev.route_documents import Document
from flash_cli.dev.state import Project, State
from runpod_flash import swagger

_HERE: Final = Path(__file__).parent


Documents = Callable[[State], Awaitable[Mapping[str, Document]]]
"""Gives what endpoints say of their routes themselves, by their names."""


async def no_documents(state: State) -> Mapping[str, Document]:
    """Nothing."""
    return {}


class Pages:
    """Answers GET requests for the few paths that are the server's own."""

    def __init__(self, documents: Documents = no_documents) -> None:
        self._documents = documents

    async def answer(self, project: Project, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer a request for one of the pages; False where it is for none of them."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return False
        path = scope["path"]
        if path == "/ping":
            response: Response = JSONResponse({"status": "healthy"})
        elif path == "/docs":
            response = FileResponse(_HERE / "page.html", media_type="text/html", headers=swagger.HEADERS)
        elif path.startswith("/docs/") and path.removeprefix("/docs/") in swagger.FILES:
            response = _file(path.removeprefix("/docs/"))
        elif path == "/openapi.json":
            response = await self._document(await project.settled(), scope)
        elif path == "/":
            response = JSONResponse(_overview(await project.settled(), _base(scope)))
        else:
            return False
        await response(scope, receive, send)
        return True

    async def _document(self, state: State, scope: Scope) -> Response:
        found = document.of(state.table, _base(scope), await self._documents(state))
        return JSONResponse(found, headers=swagger.HEADERS)


def _overview(state: State, base: str) -> dict[str, Any]:
    """What `GET /` says: all addresses, and what is wrong."""
    lines = [
        {"method": line.method, "url": base + line.path, "endpoint": line.endpoint.name, "kind": line.endpoint.kind}
        for line in state.table.lines()
    ]
    broken = [{"file": file, "problem": message} for file, message in state.files.items()]
    return {"endpoints": lines, "broken": broken, "problem": state.problem or None, "docs": f"{base}/docs"}


def _base(scope: Scope) -> str:
    return str(Request(scope).base_url).rstrip("/")


def _file(name: str) -> Response:
    return FileResponse(swagger.path_of(name, _HERE), media_type=swagger.FILES[name], headers=swagger.HEADERS)
