"""Runpod's job API by the names of an app, its stage and an endpoint, as clients of Flash ask: below `/v2/flash`."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api.access import principal_of
from runpod_flash.control_plane.api.bodies import header
from runpod_flash.control_plane.api.jobs import JobsApi
from runpod_flash.control_plane.apps import Apps
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.errors import EndpointNotFound
from runpod_flash.wording import nearest

HEADERS: Final = ("X-Flash-App", "X-Flash-Environment", "X-Flash-Endpoint")
"""They say which endpoint it is about."""

PREFIX: Final = "/v2/flash"
OPERATIONS: Final = ("run", "runsync", "status", "cancel")
"""The operations of the job API that are there under these names, too."""


class AppJobsApi:
    """The routes below `/v2/flash`. They stand before those of the job API, whose `{endpoint}` would match too."""

    def __init__(self, apps: Apps, jobs: JobsApi) -> None:
        self._apps = apps
        self._jobs = jobs

    def routes(self) -> list[BaseRoute]:
        """All routes of this face: some of the job API's under another path."""
        return [
            Route(by_name(route.path), self._found(route.endpoint), methods=list(route.methods or ()))
            for route in self._jobs.routes()
            if isinstance(route, Route) and route.path.split("/")[3] in OPERATIONS
        ]

    def _found(self, handle: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def found(request: Request) -> Response:
            request.path_params["endpoint"] = self._endpoint(request).id
            return await handle(request)

        return found

    def _endpoint(self, request: Request) -> EndpointRecord:
        """The endpoint that the headers name.

        Raises:
            AppNotFound, StageNotFound, EndpointNotFound: there is none.
            Problem: 400, a header is missing.
        """
        app, stage, name = (_named(request, each) for each in HEADERS)
        found = self._apps.stage(principal_of(request).user, app, stage)
        endpoints = {endpoint.name: endpoint for endpoint in self._apps.endpoints(found)}
        if name not in endpoints:
            near = nearest(name, endpoints)
            hint = f"did you mean {near!r}?" if near else f"there is {', '.join(endpoints) or 'none'}"
            raise EndpointNotFound(f"stage {stage!r} of app {app!r} has no endpoint {name!r:.80}; {hint}")
        return endpoints[name]


def by_name(path: str) -> str:
    """The path of the job API for endpoints that headers name."""
    return path.replace("/v2/{endpoint}", PREFIX)


def _named(request: Request, name: str) -> str:
    value = header(request, name)
    if value is None:
        raise Problem(400, f"header {name} is missing; {', '.join(HEADERS)} name the endpoint")
    return value
