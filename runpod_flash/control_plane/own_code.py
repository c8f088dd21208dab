"""Endpoints with code of their own that take jobs: inputs become calls of that code, and of no other.

    {"input": {"prompt": "a cat"}}               plain JSON: checked against the parameters, and answered as JSON
    {"input": {"flash": {…, "arguments": …}}}    from our SDK: values in the neutral encoding, which runs nothing
    {"input": {"flash": {…, "check": true}}}     whether the code can be loaded

Each is bound to the version that the endpoint has when it comes.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from runpod_flash.control_plane.artifacts import ArtifactSource
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import EndpointRecord, JobRecord
from runpod_flash.control_plane.results import Values
from runpod_flash.errors import CallError, ConfigError, ContentNotFound, NotPortable
from worker_runtime.wire import neutral, paths
from worker_runtime.wire.call_shape import UNLISTED, misfit
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.interface import FUNCTION
from worker_runtime.wire.jobs import Call, Payload
from worker_runtime.wire.plain_input import Misfit, bind
from worker_runtime.wire.specs import ArtifactManifest

_encoder: Final = json.JSONEncoder(separators=(",", ":"))


def call_of(endpoint: EndpointRecord, manifest: ArtifactManifest, job_input: Mapping[str, Any]) -> Call:
    """The call that an input asks for, of the code that the endpoint has now.

    Raises:
        Problem: 422, the input does not fit the code's parameters, or brings code.
        NotPortable: it has a pickle.
        WireError, VersionMismatch: it says that it is a call of ours, and is none of this protocol.
    """
    assert endpoint.artifact is not None
    if "flash" in job_input:
        call = Call.from_input(job_input)
        _check_foreign(endpoint, call)
        _check_shape(endpoint, manifest, call)
        _check_method(endpoint, manifest, call.method)
        return replace(call, artifact=endpoint.artifact, artifact_data=None)
    if manifest.interface is None:
        raise Problem(
            422,
            f"the code of endpoint {endpoint.name!r} was not built to take plain JSON; call it from Python, or build "
            "and deploy it anew",
            code=ConfigError.__name__,
        )
    try:
        method = bind(manifest.interface, job_input).method
    except Misfit as error:
        raise Problem(422, str(error), code=CallError.__name__, errors=error.faults) from None
    data = _encoder.encode(job_input).encode()
    return Call(
        endpoint.artifact,
        Payload.inlined(data),
        method,
        retries=manifest.retries,
        backoff=manifest.backoff,
        inline=True,
        plain=True,
    )


def check_body(body: Mapping[str, Any], artifacts: ArtifactSource) -> None:
    """See that an endpoint can have the artifact that its body names, if it names one.

    Raises:
        ContentNotFound: it is not here.
        Problem: 422, it is none for this type of endpoint.
    """
    artifact = body.get("artifact")
    if artifact is None:
        return
    try:
        data = artifacts.read_artifact(artifact)
    except FileNotFoundError:
        raise ContentNotFound(f"there is no artifact {artifact}; upload it first") from None
    if body["type"] != "LOAD_BALANCER":
        check_manifest(str(body["name"]), paths.read_manifest(data))


def check_manifest(name: str, manifest: ArtifactManifest) -> None:
    """Raise Problem (422) where an artifact is none that an endpoint can have as its own, which takes jobs."""
    if manifest.kind == "routes":
        fault = "has routes, and this endpoint takes jobs"
    elif manifest.entry is None:
        fault = "is a pickle, and an endpoint with code of its own runs files alone"
    else:
        return
    raise Problem(
        422, f"endpoint {name!r}: artifact {manifest.id} {fault}; flash build makes what fits", code="ConfigError"
    )


def _check_foreign(endpoint: EndpointRecord, call: Call) -> None:
    """Refuse a call that brings code, in whatever form."""
    if call.artifact_data is not None or call.artifact not in ("", endpoint.artifact):
        raise Problem(
            422,
            f"endpoint {endpoint.name!r} runs the code that was deployed there, and none that a call brings; leave "
            "'artifact' and 'artifact_data' out, or call an endpoint of your own",
            code=ConfigError.__name__,
        )
    if call.plain:
        raise Problem(422, "'plain' is said by the platform alone; send plain JSON as the job's input itself")
    if call.check:
        return
    payloads = [call.arguments, *([call.instance.constructor] if call.instance is not None else [])]
    if any(each.inline is not None and not neutral.is_neutral(each.inline) for each in payloads):
        raise NotPortable(
            f"endpoint {endpoint.name!r} has code of its own and loads no pickles; send values in the neutral encoding "
            "(FLASH_ENCODING=neutral)"
        )


def _check_method(endpoint: EndpointRecord, manifest: ArtifactManifest, method: str | None) -> None:
    """Refuse what is no public method: by the others, `__setattr__` for one, a caller could change the code itself."""
    if method is None:
        return
    calls = () if manifest.interface is None else tuple(name for name in manifest.interface.calls if name != FUNCTION)
    is_public = not method.startswith("_") if manifest.interface is None else method in calls
    if manifest.kind != "class" or not (is_public or method in UNLISTED):
        there = f"; there is {', '.join(map(repr, calls))}" if calls else ""
        raise Problem(422, f"endpoint {endpoint.name!r} has no method {method!r:.80}{there}", code=CallError.__name__)


def _check_shape(endpoint: EndpointRecord, manifest: ArtifactManifest, call: Call) -> None:
    """Refuse a call that was written for another version of the code."""
    if call.shape is None or manifest.interface is None:
        return
    fault = misfit(manifest.interface, call.method, call.shape)
    if fault is not None:
        name = endpoint.name if call.method is None else f"{endpoint.name}.{call.method}"
        raise Problem(
            422,
            f"the call does not fit what is deployed as {name!r}: {fault}. The code has changed since: deploy it anew, "
            "or call it as it is there",
            code=CallError.__name__,
        )


async def input_as_sent(record: JobRecord, values: Values) -> Mapping[str, Any]:
    """The input of a job as its client sent it: a plain call keeps that inside.

    Raises FileNotFoundError where it was large, and is not kept any more.
    """
    try:
        call = record.input if isinstance(record.input, Call) else Call.from_input(record.input)
    except WireError:  # it is for a command to understand
        call = None
    if call is None or not call.plain:
        return record.input_json
    kept = call.arguments
    data = kept.inline if kept.inline is not None else await values.read(kept.name or "")
    found: Mapping[str, Any] = json.loads(data)
    return found
