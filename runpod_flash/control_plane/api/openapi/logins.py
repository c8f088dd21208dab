"""Logins described: how a program comes to a key of its user."""

from typing import Final

from runpod_flash.control_plane.api.bodies import ID_LIMIT
from runpod_flash.control_plane.api.logins_api import LABEL_LIMIT
from runpod_flash.control_plane.api.openapi.model import Answer, Body, Face, Operation, Parameter
from runpod_flash.control_plane.api.openapi.shapes import identifier, json_answer, listed, record, ref, text, whole

_LEFT: Final = whole("Seconds until it is forgotten.")
_CODE: Final = Parameter(name="code", place="path", schema=identifier(), about="The code that the program shows.")
_OWNER: Final = "For the owner of the control plane only."

FACE: Final = Face(
    name="Logins",
    about="A program without a key asks for one; the owner of the control plane says whether it gets it.",
    operations=(
        Operation(
            method="POST",
            path="/flash/v1/logins",
            id="askForLogin",
            summary="Ask for a key",
            about="Needs no key. At most a few are remembered of each address; more are 429.",
            body=Body(
                schema={
                    **record({"label": text("Who asks.", minLength=1, maxLength=LABEL_LIMIT)}),
                    "additionalProperties": False,
                },
                example={"label": "ada on laptop"},
            ),
            answers={
                201: json_answer(
                    "What the owner is told, and what to come back with.",
                    ref("AskedLogin"),
                    links={name: {"code": "$response.body#/code"} for name in ("approveLogin", "denyLogin")},
                )
            },
            problems=(400, 408, 413, 429),
            needs_key=False,
        ),
        Operation(
            method="POST",
            path="/flash/v1/logins/claim",
            id="claimLogin",
            summary="Come for the key, which is given once",
            about="Needs no key. 403: denied; 404: unknown, expired, or given already.",
            body=Body(schema=ref("LoginSecret")),
            answers={
                200: json_answer("The key.", record({"key": text(), "user": text(), "scope": text()})),
                202: json_answer("The owner has not answered yet.", record({"state": text(enum=["waiting"])})),
            },
            problems=(400, 403, 404, 408, 413, 422, 507),
            needs_key=False,
        ),
        Operation(
            method="GET",
            path="/flash/v1/logins",
            id="listLogins",
            summary="What the owner has not answered",
            about=_OWNER,
            answers={200: json_answer("The oldest first.", record({"logins": listed(ref("Login"))}))},
            problems=(403,),
        ),
        Operation(
            method="POST",
            path="/flash/v1/logins/{code}/approve",
            id="approveLogin",
            summary="Give a key to who asks",
            about=f"{_OWNER} The body says whose key it is; its name is the label, if it has none.",
            parameters=(_CODE,),
            body=Body(schema=ref("NewKey"), example={"user": "ada", "scope": "full"}),
            answers={200: json_answer("It is given when the program comes for it.", ref("Login"))},
            problems=(400, 403, 404, 408, 413, 422),
        ),
        Operation(
            method="DELETE",
            path="/flash/v1/logins/{code}",
            id="denyLogin",
            summary="Give none",
            about=_OWNER,
            parameters=(_CODE,),
            answers={204: Answer(about="The program is told.")},
            problems=(403, 404),
        ),
    ),
    schemas=lambda: {
        "AskedLogin": record({"code": text("Of eight letters."), "secret": text(), "expiresIn": _LEFT}),
        "LoginSecret": {
            **record({"secret": text("As it was given.", minLength=1, maxLength=ID_LIMIT)}),
            "additionalProperties": False,
        },
        "Login": record(
            {"code": text(), "label": text("Who asks."), "address": text("From where."), "expiresIn": _LEFT}
        ),
    },
)
