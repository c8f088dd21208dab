"""What becomes of descriptions: one document of what is served, whole in itself."""

from typing import Any

import pytest
import schemathesis
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from runpod_flash.control_plane.api.openapi.document import build, routes_of
from runpod_flash.control_plane.api.openapi.faces import FACES
from runpod_flash.control_plane.api.openapi.model import Face, Operation
from runpod_flash.control_plane.api.openapi.shapes import JOB, json_answer, record, ref, text
from runpod_flash.control_plane.balancing.hosts import PathRouting
from runpod_flash.release import VERSION

ALL = {operation.route for face in FACES for operation in face.operations}

LOOK = Operation(
    method="GET",
    path="/things/{job}",
    id="look",
    summary="Look",
    parameters=(JOB,),
    answers={200: json_answer("It.", ref("Thing"), links={"take": {"job": "$response.body#/id"}})},
    problems=(404,),
)
TAKE = Operation(
    method="POST", path="/things/{job}", id="take", summary="Take", answers={200: json_answer("It.", ref("Other"))}
)
THINGS = Face(
    name="Things",
    about="Things.",
    operations=(LOOK, TAKE),
    schemas=lambda: {"Thing": record({"of": ref("Part")}), "Part": text(), "Other": text()},
)


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {value["$ref"]} if "$ref" in value else {found for part in value.values() for found in references(part)}
    return {found for part in value for found in references(part)} if isinstance(value, list) else set()


async def answer(request: Request) -> Response:
    return Response()


def test_the_whole_document_is_valid_and_refers_to_nothing_outside() -> None:
    document = build(FACES, ALL)
    schemathesis.openapi.from_dict(document).validate()
    components = document["components"]
    there = {f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in components[kind]}
    assert references(document) == there
    assert (document["openapi"], document["info"]["version"]) == ("3.0.3", VERSION)


def test_what_is_not_served_is_not_in_it() -> None:
    document = build([THINGS], {LOOK.route})
    assert document["paths"].keys() == {"/things/{job}"}
    assert document["paths"]["/things/{job}"].keys() == {"get"}
    assert document["components"]["schemas"].keys() == {"Thing", "Part", "Problem"}
    assert document["paths"]["/things/{job}"]["get"]["responses"]["200"]["links"] == {}
    whole = build([THINGS], {LOOK.route, TAKE.route})
    assert "Other" in whole["components"]["schemas"]
    assert whole["paths"]["/things/{job}"]["get"]["responses"]["200"]["links"].keys() == {"take"}


def test_a_face_of_which_nothing_is_served_has_no_tag() -> None:
    assert build([THINGS], set())["tags"] == []
    assert [tag["name"] for tag in build([THINGS], {TAKE.route})["tags"]] == ["Things"]


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (Route("/a", answer, methods=["GET"]), {("GET", "/a")}),
        (Route("/a", answer, methods=["GET", "POST"]), {("GET", "/a"), ("POST", "/a")}),
        (Route("/a/{id}", answer, methods=["HEAD", "PUT"]), {("HEAD", "/a/{id}"), ("PUT", "/a/{id}")}),
        (Route("/a/{rest:path}", answer, methods=["POST"]), {("POST", "/a/{rest}")}),
        (Mount("/other", answer), set()),
    ],
    ids=["get", "two", "head", "path", "mount"],
)
def test_routes(route: Route, expected: set[tuple[str, str]]) -> None:
    assert routes_of([route]) == expected


def test_the_balancer_takes_any_method_below_its_prefix() -> None:
    found = routes_of([Mount("/lb", PathRouting(None))])  # type: ignore[arg-type]
    assert {path for _, path in found} == {"/lb/{endpoint}/{path}"}
    assert {"GET", "POST", "OPTIONS"} < {method for method, _ in found}
