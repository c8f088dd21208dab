"""The API keys of this server: its owner makes them for others, lists and revokes them."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api.access import principal_of
from runpod_flash.control_plane.api.bodies import json_object, text_field, texts_field
from runpod_flash.control_plane.api_key_file import USER_NAME, ApiKey
from runpod_flash.control_plane.api_keys import ApiKeys
from runpod_flash.control_plane.principals import Scope
from runpod_flash.control_plane.problems import Problem

ENDPOINTS_LIMIT = 100
"""The most endpoints that one key names."""

_BODY_LIMIT = 64 * 1024
_FIELDS: Final = ("user", "name", "scope", "endpoints")


class KeysApi:
    """The routes below `/flash/v1/keys`, for the owner of the control plane alone."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys

    def routes(self) -> list[BaseRoute]:
        """All routes of this face."""
        return [
            Route("/flash/v1/keys", self._collection, methods=["GET", "POST"]),
            Route("/flash/v1/keys/{id}", self._revoke, methods=["DELETE"]),
        ]

    async def _collection(self, request: Request) -> Response:
        check_admin(request)
        if request.method != "POST":
            return JSONResponse({"keys": [_shown(key) for key in self._keys.list()]})
        made, text = await self._keys.create(**wanted_key(await json_object(request, _BODY_LIMIT)))
        return JSONResponse({**_shown(made), "key": text}, status_code=201)

    async def _revoke(self, request: Request) -> Response:
        check_admin(request)
        key_id = request.path_params["id"]
        key = await self._keys.revoke(key_id)
        if key is None:
            raise Problem(404, f"there is no key {key_id!r:.80}")
        return Response(status_code=204)


def check_admin(request: Request) -> None:
    """Raise Problem (403) for everybody but the owner of the control plane."""
    if not principal_of(request).is_admin:
        raise Problem(403, "only the owner of the control plane makes, lists and revokes keys", code="AuthError")


def wanted_key(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a new key shall be. Raises Problem: 400, with the field that is wrong."""
    if unknown := [field for field in body if field not in _FIELDS]:
        raise Problem(400, f"there is no field {unknown[0]!r:.80}; there are {', '.join(_FIELDS)}")
    user = text_field(body, "user")
    if not USER_NAME.fullmatch(user):
        raise Problem(400, f"field 'user' is {user!r:.80}; it must be 1 to 64 characters of a-z, 0-9, '.', '_' and '-'")
    wanted: dict[str, Any] = {"user": user, "scope": _scope(body.get("scope", Scope.FULL))}
    if body.get("name", "") != "":
        wanted["name"] = text_field(body, "name")
    if wanted["scope"] is Scope.ENDPOINT:
        wanted["endpoints"] = texts_field(body, "endpoints", ENDPOINTS_LIMIT)
    elif body.get("endpoints", []) != []:
        raise Problem(400, f"field 'endpoints' is for keys of scope '{Scope.ENDPOINT}' only")
    return wanted


def _scope(value: object) -> Scope:
    if not isinstance(value, str) or value not in list(Scope):
        raise Problem(400, f"field 'scope' is {value!r:.80}; it must be one of {', '.join(Scope)}")
    return Scope(value)


def _shown(key: ApiKey) -> dict[str, Any]:
    """A key without what is secret. Times are seconds since the epoch."""
    return {
        "id": key.id,
        "user": key.user,
        "name": key.name,
        "scope": str(key.scope),
        "endpoints": list(key.endpoints),
        "created": key.created_at,
        "revoked": key.revoked_at,
    }
