"""The keys that the control plane's owner gives to others, described."""

from typing import Final

from runpod_flash.control_plane.api.bodies import ID_LIMIT
from runpod_flash.control_plane.api.openapi.model import Answer, Body, Face, Operation, Parameter
from runpod_flash.control_plane.api.openapi.shapes import identifier, json_answer, listed, number, record, ref, text
from runpod_flash.control_plane.principals import Scope

_MOST_ENDPOINTS = 100
_SCOPE: Final = text("What it is for.", enum=[str(scope) for scope in Scope])
_SHOWN: Final = {
    "id": text(),
    "user": text("Whose endpoints it sees."),
    "name": text("What its owner calls it."),
    "scope": _SCOPE,
    "endpoints": listed(text(), "The endpoints that a key of scope `endpoint` is for."),
    "created": number("Seconds since the epoch."),
    "revoked": number("Seconds since the epoch, when it ended.", nullable=True),
}
_WANTED: Final = {
    "user": text("Whose endpoints it sees.", pattern="^[a-z0-9._-]{1,64}$"),
    "name": text("", maxLength=ID_LIMIT),
    "scope": {**_SCOPE, "default": str(Scope.FULL)},
    "endpoints": listed(identifier(), "For scope `endpoint` only.", maxItems=_MOST_ENDPOINTS),
}
_ABOUT = "For the owner of the control plane only."

FACE: Final = Face(
    name="Keys",
    about="API keys for others: made, listed and revoked by the owner of the control plane.",
    operations=(
        Operation(
            method="POST",
            path="/flash/v1/keys",
            id="createKey",
            summary="Make a key; it is shown this once",
            about=_ABOUT,
            body=Body(schema=ref("NewKey"), example={"user": "ada", "scope": "full"}),
            answers={
                201: json_answer(
                    "The key, under `key`.", ref("MadeKey"), links={"revokeKey": {"id": "$response.body#/id"}}
                )
            },
            problems=(400, 403, 408, 413, 422, 507),
        ),
        Operation(
            method="GET",
            path="/flash/v1/keys",
            id="listKeys",
            summary="All keys, without what is secret",
            about=_ABOUT,
            answers={200: json_answer("The keys.", record({"keys": listed(ref("Key"))}))},
            problems=(403,),
        ),
        Operation(
            method="DELETE",
            path="/flash/v1/keys/{id}",
            id="revokeKey",
            summary="End a key",
            about=_ABOUT,
            parameters=(Parameter(name="id", place="path", schema=identifier(), about="The id of the key."),),
            answers={204: Answer(about="It opens nothing any more.")},
            problems=(403, 404, 507),
        ),
    ),
    schemas=lambda: {
        "Key": record(_SHOWN),
        "MadeKey": record({**_SHOWN, "key": text("The key itself.")}),
        "NewKey": {**record(_WANTED, optional=("name", "scope", "endpoints")), "additionalProperties": False},
    },
)
