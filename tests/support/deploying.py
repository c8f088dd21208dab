"""A program that deploys functions, classes and routes of the project in the current folder to a stage of an app.

python -m tests.support.deploying APP STAGE MODULE:NAME …
"""

import asyncio
import importlib
import inspect
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from flash_cli.platform import connected
from runpod_flash import Endpoint, route_types, settings, shipping, signatures
from runpod_flash.backends.base import Backend
from runpod_flash.crossing import Crossing
from runpod_flash.delivery import environment_of
from runpod_flash.errors import AppNotFound, StageNotFound
from runpod_flash.shipping import Artifact
from runpod_flash.spec import to_body
from worker_runtime.wire.interface import FUNCTION, Interface, Parameter
from worker_runtime.wire.specs import PackageIndex

_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "either",
    inspect.Parameter.KEYWORD_ONLY: "named",
    inspect.Parameter.VAR_KEYWORD: "rest",
}


async def main(app: str, stage: str, *names: str) -> None:
    sys.path.insert(0, str(Path.cwd()))
    async with connected(settings.load(), Path.cwd()) as backend:
        endpoints = [await _endpoint(backend, name) for name in names]
        try:
            base = (await backend.apps.stage(app, stage))["version"]
        except (AppNotFound, StageNotFound):
            base = (await backend.apps.create_stage(app, stage))["version"]
        manifest = {"version": 1, "app": app, "endpoints": endpoints}
        await backend.apps.deploy(app, stage, manifest, base=base, on_progress=lambda event: None)


async def _endpoint(backend: Backend, name: str) -> dict[str, Any]:
    module, _, qualified = name.partition(":")
    declared = getattr(importlib.import_module(module), qualified)
    spec = declared.spec
    way = Crossing(spec.python_version, "what is deployed is no pickle")
    routes = isinstance(declared, Endpoint)
    code = route_types.code_of(declared._table) if isinstance(declared, Endpoint) else None
    artifact = shipping.ship(
        code.target if code is not None else declared.__flash_target__,
        name=spec.name,
        environment=environment_of(spec, way, backend, PackageIndex(), () if code is None else code.packages),
        max_concurrency=1 if routes else spec.concurrency,
        batch=spec.batch,
        way=way,
        gives_routes=routes,
    )
    artifact = artifact if routes else _with_interface(artifact, declared.__flash_target__)
    await backend.put_artifact(artifact.id, artifact.data())
    body = to_body(spec, default_queue_delay=0.0, volume_ids=[], artifact=artifact.id if routes else None)
    return {"name": spec.name, "kind": artifact.manifest.kind, "body": body, "artifact": artifact.id}


def _with_interface(artifact: Artifact, target: Any) -> Artifact:
    calls = {FUNCTION: target}
    if isinstance(target, type):
        calls = {name: each for name, each in vars(target).items() if not name.startswith("_")}
    interface = Interface({name: _parameters(each, bool(name)) for name, each in calls.items()})
    manifest = replace(artifact.manifest, interface=interface)
    return replace(artifact, manifest=manifest, id=manifest.id)


def _parameters(function: Any, is_method: bool) -> tuple[Parameter, ...]:
    known = signatures.Parameters(inspect.signature(function), int(is_method)).of_callers.parameters.values()
    return tuple(
        Parameter(each.name, _KINDS[each.kind], each.default is each.empty and each.kind is not each.VAR_KEYWORD)
        for each in known
        if each.kind in _KINDS
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
