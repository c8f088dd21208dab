"""Short ways to write JSON schemas, and the parameters that several faces have."""

from collections.abc import Mapping
from typing import Any

from runpod_flash.control_plane.api.bodies import ID_LIMIT
from runpod_flash.control_plane.api.openapi.model import Answer, Parameter, Schema


def _described(kind: str, about: str, more: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": kind, **({"description": about} if about else {}), **more}


def ref(name: str) -> dict[str, Any]:
    """The schema that a face gives under this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(about: str = "", **more: Any) -> dict[str, Any]:
    """A string."""
    return _described("string", about, more)


def whole(about: str = "", least: int | None = 0, **more: Any) -> dict[str, Any]:
    """An integer, from `least` on."""
    return _described("integer", about, more if least is None else {"minimum": least, **more})


def number(about: str = "", **more: Any) -> dict[str, Any]:
    """A number."""
    return _described("number", about, more)


def flag(about: str = "", **more: Any) -> dict[str, Any]:
    """true or false."""
    return _described("boolean", about, more)


def listed(items: Schema, about: str = "", **more: Any) -> dict[str, Any]:
    """An array."""
    return _described("array", about, {"items": dict(items), **more})


def record(properties: Mapping[str, Schema], *, optional: tuple[str, ...] = (), about: str = "") -> dict[str, Any]:
    """An object with these properties; all but the optional ones are always there."""
    required = [name for name in properties if name not in optional]
    shape: dict[str, Any] = {"properties": {name: dict(schema) for name, schema in properties.items()}}
    return _described("object", about, {**shape, "required": required} if required else shape)


def anything(about: str = "") -> dict[str, Any]:
    """Any JSON value, null among them."""
    return {"description": about} if about else {}


def json_answer(about: str, schema: Schema, **more: Any) -> Answer:
    """An answer whose body is JSON."""
    return Answer(about=about, content={"application/json": schema}, **more)


def identifier(about: str = "") -> dict[str, Any]:
    """A text that names something."""
    return text(about, minLength=1, maxLength=ID_LIMIT)


def client(about: str = "") -> dict[str, Any]:
    """The id that a client has given itself."""
    return text(about, minLength=1, maxLength=ID_LIMIT, pattern="^[^/]+$")


ENDPOINT = Parameter(
    name="endpoint",
    place="path",
    schema=text(pattern="^[a-z0-9]{14}$"),
    about="The id of the endpoint; those of other users do not exist for you.",
)
JOB = Parameter(name="job", place="path", schema=identifier(), about="The id of the job.")
