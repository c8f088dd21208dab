"""Logins: a program without a key asks for one, the owner of the control plane answers, the program comes for it."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api.bodies import json_object, text_field
from runpod_flash.control_plane.api.keys_api import check_admin, wanted_key
from runpod_flash.control_plane.logins import Login, Logins
from runpod_flash.control_plane.problems import Problem

LABEL_LIMIT: Final = 100
"""The longest label, in characters."""

_BODY_LIMIT = 64 * 1024
_BODY_S = 10.0  # who has no key is not waited for long


class LoginsApi:
    """The routes below `/flash/v1/logins`."""

    def __init__(self, logins: Logins) -> None:
        self._logins = logins

    def routes(self) -> list[BaseRoute]:
        """All routes of this face. `AuthMiddleware` lets the first two through without a key."""
        return [
            Route("/flash/v1/logins", self._collection, methods=["GET", "POST"]),
            Route("/flash/v1/logins/claim", self._claim, methods=["POST"]),
            Route("/flash/v1/logins/{code}/approve", self._approve, methods=["POST"]),
            Route("/flash/v1/logins/{code}", self._deny, methods=["DELETE"]),
        ]

    async def _collection(self, request: Request) -> Response:
        if request.method == "POST":
            return await self._ask(request)
        check_admin(request)
        return JSONResponse({"logins": [self._shown(login) for login in self._logins.waiting()]})

    async def _ask(self, request: Request) -> Response:
        body = await _body(request, ("label",))
        label = text_field(body, "label")
        if len(label) > LABEL_LIMIT or not label.isprintable():
            raise Problem(400, f"field 'label' is {label!r:.120}; it must be 1 to {LABEL_LIMIT} printable characters")
        address = request.client.host if request.client is not None else ""
        login, secret = self._logins.ask(label, address)
        asked = {"code": login.code, "secret": secret, "expiresIn": round(self._logins.left_s(login))}
        return JSONResponse(asked, status_code=201)

    async def _claim(self, request: Request) -> Response:
        body = await _body(request, ("secret",))
        claimed = await self._logins.claim(text_field(body, "secret"))
        if claimed is None:
            return JSONResponse({"state": "waiting"}, status_code=202)
        login, key = claimed
        return JSONResponse({"key": key, "user": login.user, "scope": str(login.scope)})

    async def _approve(self, request: Request) -> Response:
        check_admin(request)
        wanted = wanted_key(await json_object(request, _BODY_LIMIT))
        return JSONResponse(self._shown(self._logins.approve(request.path_params["code"], **wanted)))

    async def _deny(self, request: Request) -> Response:
        check_admin(request)
        self._logins.deny(request.path_params["code"])
        return Response(status_code=204)

    def _shown(self, login: Login) -> dict[str, Any]:
        left = round(self._logins.left_s(login))
        return {"code": login.code, "label": login.label, "address": login.address, "expiresIn": left}


async def _body(request: Request, fields: tuple[str, ...]) -> Mapping[str, Any]:
    body = await json_object(request, _BODY_LIMIT, _BODY_S)
    if unknown := [field for field in body if field not in fields]:
        raise Problem(400, f"there is no field {unknown[0]!r:.80}; there are {', '.join(fields)}")
    return body
