"""The document and its page, described."""

from typing import Final

from runpod_flash.control_plane.api.openapi.model import Answer, Face, Operation, Parameter
from runpod_flash.control_plane.api.openapi.shapes import json_answer, text


def _document(path: str, name: str) -> Operation:
    return Operation(
        method="GET",
        path=path,
        id=name,
        summary="This document",
        answers={200: json_answer("OpenAPI 3.0.", {"type": "object", "additionalProperties": True})},
        needs_key=False,
    )


FACE: Final = Face(
    name="Document",
    about="What you read. No key is needed for it.",
    operations=(
        _document("/openapi.json", "getDocument"),
        _document("/v2/openapi.json", "getDocumentV2"),
        Operation(
            method="GET",
            path="/docs",
            id="getPage",
            summary="This document as a page that can try things out",
            answers={200: Answer(about="The page.", content={"text/html": text()})},
            needs_key=False,
        ),
        Operation(
            method="GET",
            path="/docs/{file}",
            id="getPageFile",
            summary="A file of that page",
            parameters=(Parameter(name="file", place="path", schema=text(), about="Its name."),),
            answers={
                200: Answer(
                    about="The file.",
                    content={"text/javascript": text(), "text/css": text(), "image/png": text(format="binary")},
                )
            },
            problems=(404,),
            needs_key=False,
        ),
    ),
)
