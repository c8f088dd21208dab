"""Schemas of pydantic models (JSON schema 2020-12), rewritten for OpenAPI 3.0."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

_TEMPLATE = "#/components/schemas/{model}"


def schemas_of(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a model and of all that it holds, by their class names."""
    whole = model.model_json_schema(ref_template=_TEMPLATE)
    parts = {**whole.pop("$defs", {}), model.__name__: whole}
    return {name: rewritten(schema) for name, schema in parts.items()}


def rewritten(schema: Any) -> Any:
    """The same schema in the words of OpenAPI 3.0: `nullable` and `enum` for null and `const`; no titles."""
    if isinstance(schema, list):
        return [rewritten(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "anyOf" in schema and {"type": "null"} in schema["anyOf"]:
        return _nullable(schema)
    new = {key: _rewritten_part(key, part) for key, part in schema.items() if key != "title"}
    if "const" in new:
        new["enum"] = [new.pop("const")]
    if "$ref" in new and len(new) > 1:  # what stands beside a reference does not count
        new["allOf"] = [{"$ref": new.pop("$ref")}]
    return new


def _rewritten_part(key: str, part: Any) -> Any:
    if key == "properties":  # its keys are names of fields, not words of the schema
        return {name: rewritten(schema) for name, schema in part.items()}
    if key in ("default", "enum", "required", "discriminator"):
        return part
    return rewritten(part)


def _nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: part for key, part in schema.items() if key not in ("anyOf", "title", "default")}
    others = [rewritten(part) for part in schema["anyOf"] if part != {"type": "null"}]
    if len(others) > 1:
        return {**rest, "anyOf": others, "nullable": True}
    if "$ref" in others[0]:
        return {**rest, "allOf": others, "nullable": True}
    return {**rest, **others[0], "nullable": True}
