"""Network volumes, described: as published below `/v2/network-volumes`, and their files, which are our own."""

from collections.abc import Mapping
from typing import Final

from runpod_flash.control_plane.api import volume_body
from runpod_flash.control_plane.api.bodies import ID_LIMIT
from runpod_flash.control_plane.api.openapi.from_pydantic import schemas_of
from runpod_flash.control_plane.api.openapi.model import Answer, Body, Face, Operation, Parameter, Schema
from runpod_flash.control_plane.api.openapi.shapes import flag, json_answer, listed, number, record, ref, text, whole
from runpod_flash.control_plane.volume_files import LIST_LIMIT
from runpod_flash.control_plane.volume_paths import PATH_LIMIT

_ID = Parameter(name="id", place="path", schema=text(pattern="^[a-z0-9]{10}$"), about="The id of the volume.")
_PROJECT = Parameter(
    name="X-Flash-Project",
    place="header",
    schema=text(),
    about="A folder, percent-encoded: the scope of names. An extension.",
)
_KINDS: Final = ("file", "folder", "link", "other")
_EXAMPLE: Final = {"name": "models", "size": 100, "dataCenter": "EU-RO-1"}
_LINKS: Final[Mapping[str, Mapping[str, str]]] = {
    name: {"id": "$response.body#/id"} for name in ("getNetworkVolume", "updateNetworkVolume", "getVolumeUse")
}
_BYTES: Final[Mapping[str, Schema]] = {"application/octet-stream": text(format="binary")}
_FAULTS = (400, 403, 408, 409, 413, 422, 507)


def _path(about: str, *, required: bool = True) -> Parameter:
    schema = text(maxLength=PATH_LIMIT)
    return Parameter(name="path", place="query", schema=schema, about=about, required=required)


_PUBLISHED: Final = (
    Operation(
        method="GET",
        path="/v2/network-volumes",
        id="listNetworkVolumes",
        summary="All network volumes that this key sees",
        parameters=(_PROJECT,),
        answers={200: json_answer("The volumes, the oldest first.", ref("NetworkVolumes"))},
        problems=(403, 507),
    ),
    Operation(
        method="POST",
        path="/v2/network-volumes",
        id="createNetworkVolume",
        summary="Make a network volume",
        parameters=(_PROJECT,),
        body=Body(schema=ref("NewNetworkVolume"), example=_EXAMPLE),
        answers={201: json_answer("The volume.", ref("NetworkVolume"), links=_LINKS)},
        problems=_FAULTS,
    ),
    Operation(
        method="GET",
        path="/v2/network-volumes/{id}",
        id="getNetworkVolume",
        summary="One network volume",
        parameters=(_ID,),
        answers={200: json_answer("The volume.", ref("NetworkVolume"))},
        problems=(403, 404),
    ),
    Operation(
        method="PATCH",
        path="/v2/network-volumes/{id}",
        id="updateNetworkVolume",
        summary="Rename a network volume, or let it grow",
        parameters=(_ID,),
        body=Body(schema=ref("NetworkVolumeChange"), example={"size": 200}),
        answers={200: json_answer("The volume as it is now.", ref("NetworkVolume"))},
        problems=(*_FAULTS, 404),
    ),
    Operation(
        method="DELETE",
        path="/v2/network-volumes/{id}",
        id="deleteNetworkVolume",
        summary="Delete a network volume with all that is in it",
        about="409 while an endpoint has it.",
        parameters=(_ID,),
        answers={204: Answer(about="It is gone.")},
        problems=(403, 404, 409, 507),
    ),
)

_FILES: Final = (
    Operation(
        method="GET",
        path="/flash/v1/volumes/{id}",
        id="getVolumeUse",
        summary="How much of a network volume is used",
        parameters=(_ID,),
        answers={200: json_answer("Sizes in bytes.", ref("VolumeUse"))},
        problems=(403, 404, 507),
    ),
    Operation(
        method="GET",
        path="/flash/v1/volumes/{id}/files",
        id="listVolumeFiles",
        summary="What is in a folder of a network volume",
        about=f"At most {LIST_LIMIT} entries; `after` the name of the last one there are more.",
        parameters=(
            _ID,
            _path("The folder; the volume itself if absent. Of a file, the file.", required=False),
            Parameter(name="after", place="query", schema=text(maxLength=ID_LIMIT), about="A name; those after it."),
        ),
        answers={200: json_answer("The entries, by name.", ref("VolumeFiles"))},
        problems=(400, 403, 404, 422, 507),
    ),
    Operation(
        method="GET",
        path="/flash/v1/volumes/{id}/file",
        id="getVolumeFile",
        summary="The bytes of a file of a network volume",
        parameters=(_ID, _path("The file. Links are followed inside of the volume.")),
        answers={200: Answer(about="The bytes.", content=_BYTES)},
        problems=(400, 403, 404, 422, 507),
    ),
    Operation(
        method="PUT",
        path="/flash/v1/volumes/{id}/file",
        id="putVolumeFile",
        summary="Put a file into a network volume, with the folders above it",
        about="It is there, or in the place of the one that was, when all of it has come.",
        parameters=(_ID, _path("Where to.")),
        body=Body(schema=text(format="binary"), media="application/octet-stream"),
        answers={201: json_answer("It is there.", record({"path": text(), "size": whole("Bytes.")}))},
        problems=(400, 403, 404, 413, 422, 507),
    ),
    Operation(
        method="DELETE",
        path="/flash/v1/volumes/{id}/file",
        id="deleteVolumeFile",
        summary="Delete a file, or a folder with all that is in it, from a network volume",
        parameters=(_ID, _path("The file or folder; a link goes itself.")),
        answers={204: Answer(about="It is gone.")},
        problems=(400, 403, 404, 422, 507),
    ),
    Operation(
        method="PUT",
        path="/flash/v1/volumes/{id}/folder",
        id="makeVolumeFolder",
        summary="Make a folder in a network volume, with those above it; one that is there is left",
        parameters=(_ID, _path("The folder.")),
        answers={204: Answer(about="It is there.")},
        problems=(400, 403, 404, 422, 507),
    ),
)


def _schemas() -> dict[str, Schema]:
    shown = record(
        {
            "id": text(),
            "name": text(),
            "size": whole("GB.", 0),
            "dataCenter": text(),
            "type": text(enum=["STANDARD"]),
        }
    )
    entry = record(
        {
            "name": text(),
            "kind": text(enum=list(_KINDS)),
            "size": whole("Bytes of a file."),
            "modified": number("Seconds since the epoch."),
        }
    )
    return {
        **schemas_of(volume_body.NewNetworkVolume),
        **schemas_of(volume_body.NetworkVolumeChange),
        "NetworkVolume": shown,
        "NetworkVolumes": record({"networkVolumes": listed(ref("NetworkVolume"))}),
        "VolumeUse": record({"id": text(), "name": text(), "size": whole(), "used": whole()}),
        "VolumeFiles": record(
            {
                "kind": text("Of what the path leads to.", enum=list(_KINDS)),
                "entries": listed(entry),
                "more": flag("Whether there are more."),
            }
        ),
    }


FACE: Final = Face(
    name="Network volumes",
    about="Folders that workers share at /runpod-volume: Runpod's REST API v2. Their files are an extension.",
    operations=(*_PUBLISHED, *_FILES),
    schemas=_schemas,
)
