"""Apps, their stages and deploys, described; and the job API by their names."""

from dataclasses import replace
from typing import Final

from runpod_flash.control_plane.api import app_jobs
from runpod_flash.control_plane.api.app_bodies import EXPIRES_IN_S, LABEL_LIMIT, VERSION_LIMIT
from runpod_flash.control_plane.api.openapi import jobs
from runpod_flash.control_plane.api.openapi.model import Answer, Body, Face, Operation, Parameter
from runpod_flash.control_plane.api.openapi.shapes import flag, json_answer, listed, record, ref, text, whole
from runpod_flash.control_plane.app_changes import ChangeKind
from runpod_flash.control_plane.stage_table import VersionState

_NAME: Final = text("", pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
_TIME: Final = text("", format="date-time")
_MAYBE: Final = text("", format="date-time", nullable=True)
_APP: Final = Parameter(name="app", place="path", schema=_NAME, about="The name of the app.")
_STAGE: Final = Parameter(name="stage", place="path", schema=_NAME, about="The name of the stage.")
_EPHEMERAL: Final = Parameter(
    name="ephemeral",
    place="query",
    schema=text(enum=["true", "false"]),
    about="Whether stages that expire are shown, too; `false` if it is not there.",
)
_READ: Final = (403, 404)
_WRITTEN: Final = (400, 403, 404, 408, 409, 413, 422, 507)
_PATH: Final = "/flash/v1/apps/{app}/stages/{stage}"
_LINES_ABOUT: Final = (
    "It may take minutes. With `Accept: application/x-ndjson` the answer is a JSON object a line: its progress, at "
    "last `done` with the result, or `failed` with a problem."
)

_APPS: Final = (
    Operation(
        method="GET",
        path="/flash/v1/apps",
        id="listApps",
        summary="Your apps, with their stages",
        parameters=(_EPHEMERAL,),
        answers={200: json_answer("The apps, the oldest first.", record({"apps": listed(ref("App"))}))},
        problems=(400, 403),
    ),
    Operation(
        method="POST",
        path="/flash/v1/apps",
        id="createApp",
        summary="Make an app",
        body=Body(schema={**record({"name": _NAME}), "additionalProperties": False}, example={"name": "shop"}),
        answers={201: json_answer("The app.", ref("App"))},
        problems=(400, 403, 408, 409, 413, 422, 507),
    ),
    Operation(
        method="GET",
        path="/flash/v1/apps/{app}",
        id="getApp",
        summary="An app, with its stages",
        parameters=(_APP,),
        answers={200: json_answer("The app.", ref("App"))},
        problems=_READ,
    ),
    Operation(
        method="DELETE",
        path="/flash/v1/apps/{app}",
        id="deleteApp",
        summary="Remove an app with its stages, their endpoints and jobs",
        parameters=(_APP,),
        answers={204: Answer(about="It is gone.")},
        problems=(403, 404, 409, 507),
    ),
)

_STAGES: Final = (
    Operation(
        method="POST",
        path="/flash/v1/apps/{app}/stages",
        id="createStage",
        summary="Make a stage of an app, and the app where there is none",
        parameters=(_APP,),
        body=Body(schema=ref("NewStage"), example={"name": "production"}),
        answers={201: json_answer("The stage.", ref("Stage"))},
        problems=(400, 403, 408, 409, 413, 422, 507),
    ),
    Operation(
        method="GET",
        path=_PATH,
        id="getStage",
        summary="A stage: its endpoints, its versions, and the manifest of the active one",
        parameters=(_APP, _STAGE),
        answers={200: json_answer("The stage.", ref("WholeStage"))},
        problems=_READ,
    ),
    Operation(
        method="DELETE",
        path=_PATH,
        id="deleteStage",
        summary="Remove a stage with its endpoints and their jobs",
        parameters=(_APP, _STAGE),
        answers={204: Answer(about="It is gone; an app that was made for stages that expire goes with the last.")},
        problems=(403, 404, 409, 507),
    ),
    Operation(
        method="DELETE",
        path=f"{_PATH}/endpoints/{{endpoint}}",
        id="deleteStageEndpoint",
        summary="Remove one endpoint of a stage with its jobs; a deploy that has it makes it anew",
        parameters=(
            _APP,
            _STAGE,
            Parameter(name="endpoint", place="path", schema=text(minLength=1), about="The name of the endpoint."),
        ),
        answers={204: Answer(about="It is gone.")},
        problems=(403, 404, 409, 507),
    ),
    Operation(
        method="POST",
        path=f"{_PATH}/renew",
        id="renewStage",
        summary="Let a stage that expires live on",
        parameters=(_APP, _STAGE),
        answers={200: json_answer("Until when; null: it lasts.", record({"expiresAt": _MAYBE}))},
        problems=(403, 404, 507),
    ),
)

_DEPLOYS: Final = (
    Operation(
        method="POST",
        path=f"{_PATH}/deploy",
        id="deploy",
        summary="Give a stage the endpoints of a build",
        about=f"Each endpoint changes at one moment, after the environments of all are ready. {_LINES_ABOUT}",
        parameters=(_APP, _STAGE),
        body=Body(schema=ref("NewDeploy"), example={"manifest": {"endpoints": []}, "base": 0, "prune": False}),
        answers={
            200: Answer(
                about="What was done.", content={"application/json": ref("Deployed"), "application/x-ndjson": text()}
            )
        },
        problems=_WRITTEN,
    ),
    Operation(
        method="POST",
        path=f"{_PATH}/rollback",
        id="rollback",
        summary="Give a stage the endpoints of an earlier version again",
        about=f"By default of the one before the active one. What came since then is removed. {_LINES_ABOUT}",
        parameters=(_APP, _STAGE),
        body=Body(
            schema={
                **record({"version": whole("", 1, maximum=VERSION_LIMIT, nullable=True)}, optional=("version",)),
                "additionalProperties": False,
            },
            example={},
        ),
        answers={
            200: Answer(
                about="What was done.", content={"application/json": ref("Deployed"), "application/x-ndjson": text()}
            )
        },
        problems=_WRITTEN,
    ),
)


_GC: Final = Operation(
    method="POST",
    path="/flash/v1/gc",
    id="collectExpired",
    summary="Remove stages that have expired, and endpoints that were not used for long",
    about="Of everybody where the owner of the control plane asks, else of the one who does.",
    body=Body(
        schema={
            **record({"dryRun": flag("Whether it is only said what would be removed.")}, optional=("dryRun",)),
            "additionalProperties": False,
        },
        example={"dryRun": True},
    ),
    answers={200: json_answer("What was removed, or would be.", record({"removed": listed(ref("Ended"))}))},
    problems=(400, 403, 408, 413, 507),
)


def _by_name(operation: Operation) -> Operation:
    """An operation of the job API under the path for endpoints that headers name."""
    headers = tuple(
        Parameter(name=name, place="header", schema=text(minLength=1), about="It names the endpoint.", required=True)
        for name in app_jobs.HEADERS
    )
    rest = tuple(parameter for parameter in operation.parameters if parameter.name != "endpoint")
    return replace(
        operation,
        path=app_jobs.by_name(operation.path),
        id=f"{operation.id}ByName",
        summary=f"{operation.summary}; the endpoint by the names of app, stage and endpoint",
        parameters=(*headers, *rest),
        answers={status: replace(answer, links={}) for status, answer in operation.answers.items()},
    )


_JOBS: Final = tuple(
    _by_name(operation) for operation in jobs.FACE.operations if operation.path.split("/")[3] in app_jobs.OPERATIONS
)

_SHOWN: Final = {
    "app": _NAME,
    "name": _NAME,
    "version": whole("The active version; 0: none yet."),
    "createdAt": _TIME,
    "deployedAt": _MAYBE,
    "expiresAt": _MAYBE,
    "label": text("For people."),
    "owner": text("The user whose it is; empty: whoever runs the control plane."),
    "endpoints": listed(
        record(
            {
                "id": text(),
                "name": text(),
                "type": text(enum=["QUEUE", "LOAD_BALANCER"]),
                "url": text("Where its requests go."),
                "artifact": text("The code that it runs.", nullable=True),
                "generation": whole("Grows with each change that needs new workers."),
            }
        )
    ),
}
_VERSION: Final = {
    "number": whole("", 1),
    "createdAt": _TIME,
    "fingerprint": text("The sha256 of the endpoints of its manifest."),
    "state": text(enum=[str(state) for state in VersionState]),
}
_CHANGE: Final = {
    "endpoint": text(),
    "id": text("", nullable=True),
    "change": text(enum=[str(kind) for kind in ChangeKind]),
}
_FREE: Final = {"type": "object", "additionalProperties": True}

FACE: Final = Face(
    name="Apps",
    about="Apps, their stages, and what is deployed to them. Everybody has apps of their own.",
    operations=(*_APPS, *_STAGES, *_DEPLOYS, _GC, *_JOBS),
    schemas=lambda: {
        "Stage": record(_SHOWN),
        "WholeStage": record(
            {
                **_SHOWN,
                "manifest": {**_FREE, "description": "Of the active version; empty before the first."},
                "versions": listed(record(_VERSION), "Those that can be gone back to, the oldest first."),
            }
        ),
        "App": record(
            {"name": _NAME, "createdAt": _TIME, "owner": _SHOWN["owner"], "stages": listed(ref("Stage"))},
        ),
        "NewStage": {
            **record(
                {
                    "name": _NAME,
                    "expiresIn": whole(
                        "Seconds that it lives after each renewal; absent: it lasts.",
                        EXPIRES_IN_S[0],
                        maximum=EXPIRES_IN_S[1],
                        nullable=True,
                    ),
                    "label": text("For people.", maxLength=LABEL_LIMIT),
                },
                optional=("expiresIn", "label"),
            ),
            "additionalProperties": False,
        },
        "NewDeploy": {
            **record(
                {
                    "manifest": {
                        **record({"endpoints": listed(_FREE, "Each with `name`, `body` and, for code, `artifact`.")}),
                        "additionalProperties": True,
                    },
                    "base": whole("The version that it was planned against; 0: none.", maximum=VERSION_LIMIT),
                    "prune": flag("Whether endpoints that are not in it are removed; else they are left."),
                },
                optional=("prune",),
            ),
            "additionalProperties": False,
        },
        "Ended": record(
            {
                "kind": text(enum=["stage", "endpoint"]),
                "name": text(),
                "app": text("Empty for an endpoint without one."),
                "owner": text(),
                "why": text(),
            }
        ),
        "Deployed": record(
            {
                "version": whole("The active version."),
                "changes": listed(record(_CHANGE), "What became of each endpoint."),
                "stage": ref("Stage"),
            }
        ),
    },
)
