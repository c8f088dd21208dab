"""Makes of the served document one that a test can stand on: ids that exist, and answers that hold nothing unnamed."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WEBHOOK = "https://example.com/told"
"""What may be told; the idle control plane tells nobody."""


def narrowed(document: Mapping[str, Any], ids: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A copy in which parameters take these values only, and objects in answers have no fields but those named.

    `ids` is by path parameter, by operation and any parameter (`getValue.id`), or by schema and field
    (`LoginSecret.secret`).
    """
    copied = copy.deepcopy(dict(document))
    for operation in operations(copied):
        if "parameters" in operation:  # `follow` asks for an answer without end
            operation["parameters"] = [each for each in operation["parameters"] if each["name"] != "follow"]
        for parameter in operation.get("parameters", ()):
            own = ids.get(f"{operation['operationId']}.{parameter['name']}")
            values = ids.get(parameter["name"]) if own is None and parameter["in"] == "path" else own
            if values is not None:
                parameter["schema"] = {"type": "string", "enum": list(values)}
    for schema, name in (key.split(".") for key in ids if key.partition(".")[0] in copied["components"]["schemas"]):
        copied["components"]["schemas"][schema]["properties"][name] = {
            "type": "string", "enum": list(ids[f"{schema}.{name}"]),
        }  # fmt: skip
    copied["components"]["schemas"]["NewJob"]["properties"]["webhook"] = {
        "type": "string", "enum": [WEBHOOK, None], "nullable": True,
    }  # fmt: skip
    close(copied)
    return copied


def operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All operations."""
    for methods in document["paths"].values():
        yield from methods.values()


def close(document: Mapping[str, Any]) -> None:
    """Forbid, in all that answers hold, the fields that are not named."""
    schemas = document["components"]["schemas"]
    pending: list[Any] = [answer for operation in operations(document) for answer in operation["responses"].values()]
    pending += document["components"]["responses"].values()
    seen: set[str] = set()
    while pending:
        part = pending.pop()
        if isinstance(part, list):
            pending += part
        elif isinstance(part, dict):
            name = str(part.get("$ref", "")).removeprefix("#/components/schemas/")
            if name in schemas and name not in seen:
                seen.add(name)
                pending.append(schemas[name])
            if "properties" in part:
                part.setdefault("additionalProperties", False)
            pending += part.values()
