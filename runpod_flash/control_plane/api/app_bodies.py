"""What the routes of apps take: names, terms of a stage, manifests. Checked before anything is changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runpod_flash.control_plane.api import serverless_body
from runpod_flash.control_plane.api.bodies import flag_field, text_field, whole_field
from runpod_flash.control_plane.problems import Problem
from runpod_flash.scopes import check_name

EXPIRES_IN_S: Final = (1, 7 * 24 * 3600)
"""How long a stage that expires may live without being renewed, in seconds."""

LABEL_LIMIT: Final = 255
VERSION_LIMIT: Final = 2**31 - 1
ENDPOINTS_LIMIT: Final = 1000
"""The most endpoints of a stage."""


@dataclass(frozen=True, slots=True)
class NewStage:
    """A stage as it is asked for."""

    name: str
    expires_in: int | None
    label: str


def only(body: Mapping[str, Any], *fields: str) -> None:
    """Raise Problem (400) where a body has other fields than these."""
    if unknown := [field for field in body if field not in fields]:
        raise Problem(400, f"there is no field {unknown[0]!r:.80}; there are {', '.join(fields)}")


def new_name(body: Mapping[str, Any], kind: str) -> str:
    """The name of what shall be made. Raises Problem: 400; ConfigError: it can be no name."""
    return check_name(kind, text_field(body, "name"))


def new_stage(body: Mapping[str, Any]) -> NewStage:
    """Raises Problem: 400; ConfigError: its name can be none."""
    only(body, "name", "expiresIn", "label")
    name, label = new_name(body, "stage"), body.get("label", "")
    if label != "":
        label = text_field(body, "label")
    expires = body.get("expiresIn")
    return NewStage(name, None if expires is None else whole_field(body, "expiresIn", *EXPIRES_IN_S), label)


@dataclass(frozen=True, slots=True)
class Asked:
    """A deploy as it is asked for."""

    manifest: Mapping[str, Any]
    base: int
    prune: bool


def asked_deploy(body: Mapping[str, Any]) -> Asked:
    """Raises Problem: 400."""
    only(body, "manifest", "base", "prune")
    manifest = body.get("manifest")
    if not isinstance(manifest, dict):
        raise Problem(400, f"field 'manifest' is {manifest!r:.80}; it must be an object")
    return Asked(manifest, whole_field(body, "base", 0, VERSION_LIMIT), flag_field(body, "prune"))


def asked_version(body: Mapping[str, Any]) -> int | None:
    """The version to go back to; None: the one before. Raises Problem: 400."""
    only(body, "version")
    return None if body.get("version") is None else whole_field(body, "version", 1, VERSION_LIMIT)


def bodies_of(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The bodies of a manifest's endpoints, checked as those of `/v2/serverless`, each with the artifact that it runs.

    Raises:
        Problem: 422, with every fault; it names the endpoint.
    """
    endpoints = manifest.get("endpoints")
    if not isinstance(endpoints, list) or not all(isinstance(each, dict) for each in endpoints):
        raise Problem(422, "$.manifest.endpoints: it must be a list of objects", code="ConfigError")
    if len(endpoints) > ENDPOINTS_LIMIT:
        raise Problem(422, f"$.manifest.endpoints: there are more than {ENDPOINTS_LIMIT}", code="ConfigError")
    faults, found = list[str](), list[dict[str, Any]]()
    for number, endpoint in enumerate(endpoints):
        try:
            found.append(_body_of(endpoint, number))
        except Problem as problem:
            name = endpoint.get("name")
            faults += [f"endpoint {name!r:.80}: {fault}" for fault in problem.errors or (problem.detail,)]
    faults += _repeated([body["name"] for body in found])
    if faults:
        raise Problem(422, "; ".join(faults), code="ConfigError", errors=faults)
    return found


def _body_of(endpoint: Mapping[str, Any], number: int) -> dict[str, Any]:
    name, body, artifact = (endpoint.get(key) for key in ("name", "body", "artifact"))
    if not isinstance(name, str) or not isinstance(body, dict):
        raise Problem(422, f"$.manifest.endpoints[{number}]: it must have a 'name' and a 'body'")
    if body.get("name", name) != name:
        raise Problem(422, f"its body has the name {body['name']!r:.80}; both must be the same")
    extra = {} if artifact is None else {"artifact": artifact}
    return serverless_body.created({**body, "name": name, **extra})


def _repeated(names: Sequence[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    return [f"endpoint {name!r}: there are two of this name" for name in twice]
