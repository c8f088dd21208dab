"""Runpod's REST API v2 as far as endpoints go: list, create, read, change and delete them below `/v2/serverless`."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api import serverless_body
from runpod_flash.control_plane.api.access import Access, principal_of
from runpod_flash.control_plane.api.addresses import url_for
from runpod_flash.control_plane.api.bodies import json_object
from runpod_flash.control_plane.api.volume_access import VolumeAccess
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.platform import Platform
from runpod_flash.control_plane.principals import Need
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.views import endpoint_object, workers_object
from runpod_flash.scopes import StageName, is_managed, stage_of

BODY_LIMIT = 1024**2


class ManagementApi:
    """The routes below `/v2/serverless`.

    The header X-Flash-Project (a folder, percent-encoded) is the scope of names: with it, the list shows that project's
    endpoints and new ones belong to it; without it, the list shows all and new ones have the scope "".

    Everybody has endpoints of their own and sees no others. The owner of the control plane reaches all by their ids,
    and sees them with `?all=true`.
    """

    def __init__(
        self,
        catalog: Catalog,
        platform: Platform,
        access: Access,
        volumes: VolumeAccess,
        url: str,
        check_artifact: Callable[[Mapping[str, Any]], None],
        used: Callable[[str], None],
    ) -> None:
        """
        Args:
            url: where this server is found by those who came by a way that has no URL, its unix socket.
            check_artifact: raises ContentNotFound or Problem where a body names an artifact that it cannot have.
            used: called with the id of each endpoint for which somebody asks by its name, to use it.
        """
        self._check_artifact = check_artifact
        self._used = used
        self._catalog = catalog
        self._platform = platform
        self._access = access
        self._volumes = volumes
        self._url = url

    def routes(self) -> list[BaseRoute]:
        """All routes of this face. They stand before those of the job API, whose `{endpoint}` would match too."""
        return [
            Route("/v2/serverless", self._collection, methods=["GET", "POST"]),
            Route("/v2/serverless/{id}", self._one, methods=["GET", "PATCH", "DELETE"]),
            Route("/v2/serverless/{id}/workers", self._workers, methods=["GET"]),
        ]

    async def _collection(self, request: Request) -> Response:
        principal, project = principal_of(request), _project(request)
        if request.method == "POST":
            self._access.check(principal, Need.MANAGE)
            self._access.check_project(principal, project or "")
            _check_scope(project or "")
            body = serverless_body.created(await json_object(request, BODY_LIMIT))
            self._check_artifact(body)
            async with self._volumes.attaching(body):
                self._volumes.check_attached(body, principal.user, principal)
                made = await self._catalog.create(project or "", body, principal.user)
            return JSONResponse(self._shown(request, made), status_code=201)
        owner, name = None if _wants_all(request) else principal.user, request.query_params.get("name")
        records = [each for each in self._catalog.list(project, owner) if principal.sees(each.owner, each.id)]
        if name is not None:
            records = [each for each in records if each.name == name]
            for record in records:
                self._used(record.id)
        return JSONResponse({"endpoints": [self._shown(request, record) for record in records]})

    async def _one(self, request: Request) -> Response:
        need = Need.READ if request.method in ("GET", "HEAD") else Need.MANAGE
        record = self._access.endpoint(request, need, request.path_params["id"])
        if need is Need.MANAGE and (stage := stage_of(record.project)) is not None:
            raise _managed(record, stage)
        if request.method == "DELETE":
            await self._catalog.delete(record.id)  # first, so that no new job gets in
            await self._platform.delete_endpoint_jobs(record.id)
            return Response(status_code=204)
        if request.method == "PATCH":
            record = await self._change(request, record, await json_object(request, BODY_LIMIT))
        return JSONResponse(self._shown(request, record))

    async def _change(self, request: Request, record: EndpointRecord, patch: Mapping[str, Any]) -> EndpointRecord:
        def change(body: Mapping[str, Any]) -> Mapping[str, Any]:
            new = serverless_body.patched(body, patch)
            self._check_artifact(new)
            if any(new[name] != body.get(name, []) for name in ("networkVolumes", "dataCenterIds")):
                self._volumes.check_attached(new, record.owner, principal_of(request))
            return new

        async with self._volumes.attaching(patch):
            return await self._catalog.update(record.id, change)

    async def _workers(self, request: Request) -> Response:
        record = self._access.endpoint(request, Need.READ, request.path_params["id"])
        return JSONResponse(workers_object(record, self._platform.workers(record.id)))

    def _shown(self, request: Request, record: EndpointRecord) -> dict[str, Any]:
        return endpoint_object(record, url_for(request, self._url))


def _check_scope(project: str) -> None:
    """Raise Problem (422) where an endpoint shall be made in the scope of an app."""
    if is_managed(project):
        raise Problem(422, f"{project!r:.150} is the scope of an app's stage: `flash deploy` makes endpoints there")


def _managed(record: EndpointRecord, stage: StageName) -> Problem:
    """The refusal to change what an app has."""
    return Problem(
        409,
        f"endpoint {record.name!r} belongs to stage {stage.stage!r} of app {stage.app!r} and is changed with it: by "
        f"`flash deploy --app {stage.app} --env {stage.stage}`; `flash undeploy` removes it",
    )


def _wants_all(request: Request) -> bool:
    """Whether everybody's endpoints are asked for. Raises Problem: 400 and 403, it cannot be or may not be."""
    text = request.query_params.get("all", "false")
    if text not in ("true", "false"):
        raise Problem(400, f"query parameter 'all' is {text!r:.80}; it must be 'true' or 'false'")
    if text == "true" and not principal_of(request).is_admin:
        raise Problem(403, "only the owner of the control plane sees the endpoints of others", code="AuthError")
    return text == "true"


def _project(request: Request) -> str | None:
    header = request.headers.get("X-Flash-Project")
    return None if header is None else unquote(header)
