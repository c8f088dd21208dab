"""Where the job API is: below `/v2/{endpoint}`, and for some of it below `/v2/flash`, where headers name the endpoint.

These are the routes that are asked most, so they are found by a table, and `JobsFirst` looks there before the router
goes through its list. Only what names no endpoint for certain is left to the order of that list.
"""

from collections.abc import Mapping
from typing import Final

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from runpod_flash.control_plane.api.app_jobs import FLASH, OPERATIONS, AppJobs, by_name
from runpod_flash.control_plane.api.asked import Asked
from runpod_flash.control_plane.api.jobs import JobsApi, Operation
from runpod_flash.control_plane.catalog import RESERVED
from runpod_flash.control_plane.problems import REFUSALS, Problem, response_for

_OPERATION: Final = "flash.operation"
"""The key of the ASGI scope under which `matches` leaves the operation for `handle`."""


class JobRoutes(BaseRoute):
    """All of them as one route. `names` finds endpoints by headers; None: nothing is below `/v2/flash`."""

    def __init__(self, jobs: JobsApi, names: AppJobs | None) -> None:
        self._jobs = jobs
        self._names = names
        self._found: Final[Mapping[tuple[str, int], Operation]] = {
            (operation.name, 5 if operation.of_job else 4): operation for operation in jobs.operations
        }

    @property
    def served(self) -> set[tuple[str, str]]:
        """Method and path of each route, as OpenAPI writes them."""
        found = set[tuple[str, str]]()
        for operation in self._jobs.operations:
            path = f"/v2/{{endpoint}}/{operation.name}{'/{job}' if operation.of_job else ''}"
            named = self._names is not None and operation.name in OPERATIONS
            for method in operation.methods - {"HEAD"}:
                found |= {(method, each) for each in (path, *([by_name(path)] if named else []))}
        return found

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a path is one of these; PARTIAL where it is, and the method is another."""
        parts = scope["path"].split("/") if scope["type"] == "http" else ()
        operation = self._operation(parts)
        if operation is None:
            return Match.NONE, {}
        fits = Match.FULL if scope["method"] in operation.methods else Match.PARTIAL
        return fits, {_OPERATION: (operation, parts)}

    def first(self, scope: Scope) -> tuple[Operation, list[str]] | None:
        """The operation and the parts of the path, where no other route can be meant."""
        parts = scope["path"].split("/")
        operation = self._operation(parts)
        if operation is None or scope["method"] not in operation.methods:
            return None
        return None if parts[2] in RESERVED and parts[2] != FLASH else (operation, parts)

    def _operation(self, parts: "list[str] | tuple[()]") -> Operation | None:
        if not 4 <= len(parts) <= 5 or parts[1] != "v2" or parts[0] or not parts[2] or not parts[-1]:
            return None
        return self._found.get((parts[3], len(parts)))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that `matches`."""
        operation, parts = scope[_OPERATION]
        if scope["method"] not in operation.methods:
            allow = ", ".join(sorted(operation.methods))
            refusal = Problem(405, "Method Not Allowed", headers={"Allow": allow})
            await response_for(refusal)(scope, receive, send)
            return
        await self.answer(operation, parts, scope, receive, send)

    async def answer(self, operation: Operation, parts: list[str], scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request for this operation."""
        asked = Asked(scope, receive, parts[2], parts[4] if operation.of_job else "")
        try:
            if asked.endpoint == FLASH and self._names is not None and operation.name in OPERATIONS:
                asked.endpoint = self._names.endpoint(asked).id
            body = await self._jobs.answer(operation, asked)
        except REFUSALS as error:
            await response_for(error)(scope, receive, send)
            return
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class JobsFirst:
    """Middleware: what is for the job API goes there, all else to the app."""

    def __init__(self, app: ASGIApp, jobs: JobRoutes) -> None:
        self._app = app
        self._jobs = jobs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._jobs.first(scope) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
        else:
            await self._jobs.answer(*found, scope, receive, send)
