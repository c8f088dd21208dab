"""Whether a declared image takes jobs or HTTP requests: read off from how the project's files use it.

A program decides that at its first use of the client; what is deployed has to know it before.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from runpod_flash import options
from runpod_flash.errors import ConfigError
from runpod_flash.hardware import ServerlessType
from runpod_flash.spec import EndpointSpec

_JOBS = frozenset({"run", "runsync"})
_REQUESTS = frozenset({"get", "post", "put", "delete", "patch", "websocket"})


def of_kind(spec: EndpointSpec, variable: str, files: Iterable[Path]) -> EndpointSpec:
    """The spec of an image that is held by a variable, for what `files` ask of it.

    Where they ask nothing, an image that exposes an HTTP port, or is told its port, takes requests, any other one jobs.

    Raises:
        ConfigError: they ask for both; or the spec cannot be of the kind that they ask for.
    """
    used = {verb for file in files for verb in _verbs(file, variable.rpartition(".")[2])}
    jobs, requests = sorted(used & _JOBS), sorted(used & _REQUESTS)
    if jobs and requests:
        raise ConfigError(
            f"the image of endpoint '{spec.name}' is asked for jobs ({jobs[0]}) and for HTTP requests ({requests[0]}), "
            "and one endpoint answers one of the two; declare another Endpoint with another name= for the other"
        )
    balanced = bool(requests) or (not jobs and _says_http(spec))
    return options.of_kind(spec, ServerlessType.LB if balanced else ServerlessType.QB)


def _says_http(spec: EndpointSpec) -> bool:
    template = spec.template
    return template is not None and (
        any(port.endswith("/http") for port in template.exposed) or "$PORT" in template.dockerArgs
    )


def _verbs(file: Path, variable: str) -> Iterator[str]:
    """The attributes of a variable that a file uses."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name) | ast.Attribute(attr=name), attr=verb) if name == variable:
                yield verb
