"""Schemas of pydantic models in the words of OpenAPI 3.0."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from runpod_flash.control_plane.api.openapi.from_pydantic import rewritten, schemas_of


class Inner(BaseModel):
    """What is inside."""

    const: Literal["x"]
    title: int


class Outer(BaseModel):
    inner: Inner | None = None
    either: int | str | None = None
    count: Annotated[int, Field(ge=1)] | None = None
    given: Inner = Inner(const="x", title=1)


def test_models_become_components() -> None:
    schemas = schemas_of(Outer)
    assert schemas.keys() == {"Outer", "Inner"}
    reference = {"$ref": "#/components/schemas/Inner"}
    assert schemas["Inner"] == {
        "type": "object",
        "description": "What is inside.",
        "properties": {"const": {"type": "string", "enum": ["x"]}, "title": {"type": "integer"}},
        "required": ["const", "title"],
    }
    assert schemas["Outer"]["properties"] == {
        "inner": {"allOf": [reference], "nullable": True},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}], "nullable": True},
        "count": {"type": "integer", "minimum": 1, "nullable": True},
        "given": {"allOf": [reference], "default": {"const": "x", "title": 1}},
    }


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"$ref": "#/a"}, {"$ref": "#/a"}),
        ({"const": 1, "title": "One"}, {"enum": [1]}),
        ({"items": {"const": 1}}, {"items": {"enum": [1]}}),
        ({"anyOf": [{"const": 1}, {"type": "string"}]}, {"anyOf": [{"enum": [1]}, {"type": "string"}]}),
        ({"default": {"title": "kept", "const": 1}}, {"default": {"title": "kept", "const": 1}}),
        ({"additionalProperties": False}, {"additionalProperties": False}),
    ],
    ids=["reference", "const", "items", "union", "default", "flag"],
)
def test_parts(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert rewritten(schema) == expected
