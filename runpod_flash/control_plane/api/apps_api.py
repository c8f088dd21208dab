"""Apps and their stages: made, listed, deployed to, rolled back, renewed and deleted; what has expired, collected."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api import app_bodies
from runpod_flash.control_plane.api.access import Access, principal_of
from runpod_flash.control_plane.api.addresses import url_for
from runpod_flash.control_plane.api.bodies import flag_field, json_object
from runpod_flash.control_plane.api.connected import while_connected
from runpod_flash.control_plane.api.progress import progress_lines
from runpod_flash.control_plane.api.volume_access import VolumeAccess
from runpod_flash.control_plane.app_views import app_object, change_object, stage_object, version_object
from runpod_flash.control_plane.apps import Apps
from runpod_flash.control_plane.deploys import Deployed, Deploys, Manifest, Order, Tell
from runpod_flash.control_plane.expiring import Ended, Expiring
from runpod_flash.control_plane.expiry import Phase
from runpod_flash.control_plane.principals import Need, Principal, Scope
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.stage_table import AppRecord, StageRecord
from runpod_flash.control_plane.views import iso_time

MANIFEST_LIMIT: Final = 32 * 1024**2
"""Bytes of a manifest: each endpoint's has the hashes of all its packages."""

LINES: Final = "application/x-ndjson"
_BODY_LIMIT: Final = 64 * 1024


class AppsApi:
    """The routes below `/flash/v1/apps`, and `/flash/v1/gc`. Everybody has apps of their own and sees no others."""

    def __init__(self, apps: Apps, deploys: Deploys, expiring: Expiring, volumes: VolumeAccess, url: str) -> None:
        """`url`: where this server is found by those who came by its unix socket."""
        self._apps = apps
        self._deploys = deploys
        self._expiring = expiring
        self._volumes = volumes
        self._url = url

    def routes(self) -> list[BaseRoute]:
        """All routes of this face."""
        stage = "/flash/v1/apps/{app}/stages/{stage}"
        return [
            Route("/flash/v1/apps", self._collection, methods=["GET", "POST"]),
            Route("/flash/v1/apps/{app}", self._one, methods=["GET", "DELETE"]),
            Route("/flash/v1/apps/{app}/stages", self._stages, methods=["POST"]),
            Route(stage, self._stage, methods=["GET", "DELETE"]),
            Route(f"{stage}/endpoints/{{endpoint}}", self._endpoint, methods=["DELETE"]),
            Route(f"{stage}/renew", self._renew, methods=["POST"]),
            Route(f"{stage}/deploy", self._deploy, methods=["POST"]),
            Route(f"{stage}/rollback", self._rollback, methods=["POST"]),
            Route("/flash/v1/gc", self._collect, methods=["POST"]),
        ]

    # ---- apps

    async def _collection(self, request: Request) -> Response:
        if request.method == "POST":
            owner = _allowed(request, Need.MANAGE).user
            body = await json_object(request, _BODY_LIMIT)
            app_bodies.only(body, "name")
            app = await self._apps.create(owner, app_bodies.new_name(body, "app"))
            return JSONResponse(self._app_shown(request, app), status_code=201)
        owner, ephemeral = _allowed(request, Need.READ).user, _ephemeral(request)
        apps = self._apps.apps_of(owner, ephemeral=ephemeral)
        return JSONResponse({"apps": [self._app_shown(request, app, ephemeral=ephemeral) for app in apps]})

    async def _one(self, request: Request) -> Response:
        app = self._app(request, Need.MANAGE if request.method == "DELETE" else Need.READ)
        if request.method != "DELETE":
            return JSONResponse(self._app_shown(request, app))
        await self._apps.delete(app)
        return Response(status_code=204)

    def _app(self, request: Request, need: Need) -> AppRecord:
        return self._apps.get(_allowed(request, need).user, request.path_params["app"])

    def _app_shown(self, request: Request, app: AppRecord, *, ephemeral: bool = True) -> dict[str, Any]:
        stages = self._apps.stages(app, ephemeral=ephemeral)
        return app_object(app, [self._stage_shown(request, stage) for stage in stages])

    # ---- stages

    async def _stages(self, request: Request) -> Response:
        owner = _allowed(request, Need.MANAGE).user
        asked = app_bodies.new_stage(await json_object(request, _BODY_LIMIT))
        stage = await self._apps.create_stage(
            owner, request.path_params["app"], asked.name, expires_in=asked.expires_in, label=asked.label
        )
        return JSONResponse(self._stage_shown(request, stage), status_code=201)

    async def _stage(self, request: Request) -> Response:
        stage = self._found(request, Need.MANAGE if request.method == "DELETE" else Need.READ)
        if request.method == "DELETE":
            await self._apps.delete_stage(stage)
            return Response(status_code=204)
        active = self._apps.version(stage, stage.version)
        shown = {
            **self._stage_shown(request, stage),
            "manifest": {} if active is None else active.manifest,
            "versions": [version_object(version) for version in self._apps.versions(stage)],
        }
        return JSONResponse(shown)

    async def _endpoint(self, request: Request) -> Response:
        await self._deploys.remove(self._found(request, Need.MANAGE), request.path_params["endpoint"])
        return Response(status_code=204)

    async def _renew(self, request: Request) -> Response:
        stage = await self._apps.renew(self._found(request, Need.MANAGE))
        expires = stage.expires_at
        return JSONResponse({"expiresAt": None if expires is None else iso_time(expires)})

    def _found(self, request: Request, need: Need) -> StageRecord:
        owner = _allowed(request, need).user
        return self._apps.stage(owner, request.path_params["app"], request.path_params["stage"])

    def _stage_shown(self, request: Request, stage: StageRecord) -> dict[str, Any]:
        return stage_object(stage, self._apps.endpoints(stage), url_for(request, self._url))

    # ---- deploys

    async def _deploy(self, request: Request) -> Response:
        stage = self._found(request, Need.MANAGE)
        asked = app_bodies.asked_deploy(await json_object(request, MANIFEST_LIMIT))
        order = self._order(asked.manifest, stage, principal_of(request))

        async def deploy(tell: Tell) -> Deployed:
            return await self._deploys.deploy(stage, order, base=asked.base, prune=asked.prune, tell=tell)

        return await self._answered(request, deploy)

    async def _rollback(self, request: Request) -> Response:
        stage, principal = self._found(request, Need.MANAGE), principal_of(request)
        number = app_bodies.asked_version(await json_object(request, _BODY_LIMIT))

        async def roll_back(tell: Tell) -> Deployed:
            return await self._deploys.roll_back(
                stage, number, lambda manifest: self._order(manifest, stage, principal), tell
            )

        return await self._answered(request, roll_back)

    def _order(self, manifest: Manifest, stage: StageRecord, principal: Principal) -> Order:
        """Raises Problem: 422, the body of an endpoint cannot be."""
        bodies, faults = app_bodies.bodies_of(manifest), list[str]()
        for body in bodies:
            try:
                self._volumes.check_attached(body, stage.owner, principal)
            except Problem as problem:
                faults += [f"endpoint {body['name']!r}: {fault}" for fault in problem.errors]
        if faults:
            raise Problem(422, "; ".join(faults), code="ConfigError", errors=faults)
        return Order(manifest, bodies, self._volumes.attaching)

    async def _collect(self, request: Request) -> Response:
        """Remove what has expired: the owner of the control plane everybody's, others their own."""
        principal = _allowed(request, Need.MANAGE)
        body = await json_object(request, _BODY_LIMIT)
        app_bodies.only(body, "dryRun")
        owner = None if principal.is_admin else principal.user
        removed = await self._expiring.collect(Phase.RESTING, owner, dry_run=flag_field(body, "dryRun"))
        return JSONResponse({"removed": [_ended_object(ended) for ended in removed]})

    async def _answered(self, request: Request, work: Callable[[Tell], Awaitable[Deployed]]) -> Response:
        """The result as JSON, or, for those who want that, its progress first, a line each.

        It is given up where the client leaves before anything has changed.
        """

        async def done(tell: Tell) -> dict[str, Any]:
            deployed = await work(tell)
            changes = [change_object(change) for change in deployed.changes]
            stage = self._stage_shown(request, deployed.stage)
            return {"version": deployed.version, "changes": changes, "stage": stage}

        if LINES in request.headers.get("Accept", ""):
            return StreamingResponse(progress_lines(done), media_type=LINES)
        return JSONResponse(await while_connected(request, done(lambda event: None)))


def _ended_object(ended: Ended) -> dict[str, str]:
    """What was removed, or would be."""
    return {"kind": ended.kind, "name": ended.name, "app": ended.app, "owner": ended.owner, "why": ended.why}


def _allowed(request: Request, need: Need) -> Principal:
    """Whose apps it is about. Raises Problem: 403, the key is not for that."""
    principal = principal_of(request)
    Access.check(principal, need)
    if principal.scope is Scope.ENDPOINT:
        raise Problem(403, "a key for single endpoints is for no apps", code="AuthError")
    if need is Need.MANAGE and principal.worker is not None:
        raise Problem(403, "the key of a worker makes, changes and deletes no apps", code="AuthError")
    return principal


def _ephemeral(request: Request) -> bool:
    """Whether what expires is shown, too. Raises Problem: 400."""
    text = request.query_params.get("ephemeral", "false")
    if text not in ("true", "false"):
        raise Problem(400, f"query parameter 'ephemeral' is {text!r:.80}; it must be 'true' or 'false'")
    return text == "true"
