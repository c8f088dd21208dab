"""Everything that is served is described, and nothing else."""

import re
from collections import Counter

import pytest
from starlette.routing import Mount

from runpod_flash.control_plane.api.openapi import problems
from runpod_flash.control_plane.api.openapi.document import routes_of
from runpod_flash.control_plane.api.openapi.faces import FACES
from runpod_flash.control_plane.api.openapi.model import Operation, problem_name
from runpod_flash.control_plane.api.workers import WorkersApi
from runpod_flash.control_plane.balancing.hosts import PREFIX, PathRouting
from runpod_flash.control_plane.limits import Limits
from tests.support.place import ROOT
from tests.support.plane_app import PlaneApp

OPERATIONS = [operation for face in FACES for operation in face.operations]
ROW = re.compile(r"^\| `([A-Z]+) (/[^`]*)`.*? \| ([a-z ]+) \|", re.MULTILINE)


async def test_the_routes_are_those_that_are_described(plane: PlaneApp) -> None:
    of_workers = WorkersApi(None, None, lambda worker: None, Limits()).routes()  # type: ignore[arg-type]
    balanced = Mount(PREFIX, PathRouting(None))  # type: ignore[arg-type]
    served = routes_of([*plane.app.routes, *of_workers, balanced])
    assert served == {operation.route for operation in OPERATIONS}


def test_each_is_described_once_under_a_name_of_its_own() -> None:
    routes, names = Counter(each.route for each in OPERATIONS), Counter(each.id for each in OPERATIONS)
    assert [found for found, count in [*routes.items(), *names.items()] if count > 1] == []


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_a_description_is_whole(operation: Operation) -> None:
    in_path = [parameter.name for parameter in operation.parameters if parameter.place == "path"]
    assert in_path == re.findall(r"\{(\w+)\}", operation.path)
    assert {problem_name(status) for status in (*operation.problems, 401, 500)} <= problems.responses().keys()
    if operation.body is not None and operation.body.media == "application/json":
        named = {*operation.problems, *operation.answers}
        assert {400, 408, 413} <= named


def test_the_text_has_a_line_for_each_operation_and_the_reverse() -> None:
    rows = ROW.findall((ROOT / "docs/api.md").read_text())
    there = [(method, path) for method, path, state in rows if state != "not done"]
    assert sorted(there) == sorted(operation.route for operation in OPERATIONS)
    missing = {(method, path) for method, path, state in rows if state == "not done"}
    assert missing
    assert not missing & set(there)
    assert {state for _, _, state in rows} == {"done", "differs", "not done", "ours"}
