"""`flash call`, `flash logs`, `flash jobs` and `flash status` of endpoints in a stage, with code of their own."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from runpod_flash.backends.base import AppStore
from tests.support.app_plane import pages, with_apps
from tests.support.own_code import Code, code, deployed, parameter
from tests.support.place import Place

ADD = """
import sys
def add(a: int, b: int = 1):
    print("adding", a, b)
    if a < 0:
        raise ValueError("a is negative")
    return {"sum": a + b}
def numbers():
    yield from range(3)
class Model:
    def greet(self, name: str = "you"): return f"hello {name}"
    def count(self, n: int): return list(range(n))
"""
SHAPE = (parameter("a", "integer"), parameter("b", "integer", required=False))
METHODS = {"greet": (parameter("name", "string", required=False),), "count": (parameter("n", "integer"),)}
ENDPOINTS = {
    "add": code("add", ADD, SHAPE),
    "numbers": code("numbers", ADD, ()),
    "model": code("Model", ADD, METHODS, kind="class"),
}


def queue(name: str, shipped: Code, kind: str = "function") -> Mapping[str, Any]:
    """An endpoint of a manifest that takes jobs."""
    body = {
        "name": name,
        "type": "QUEUE",
        "artifact": shipped.id,
        "cpu": [{"id": "cpu3c", "vcpuCount": 1}],
        "workers": {"min": 0, "max": 1, "idleTimeout": 60},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0},
    }
    return {"name": name, "kind": kind, "artifact": shipped.id, "body": body}


@pytest.fixture(scope="module")
def sums(shared_place: Place) -> str:
    """The name of an app with the stages `one`, which lasts, and `two`, which expires."""
    with deployed(shared_place) as here:
        for shipped in ENDPOINTS.values():
            here.upload(shipped)
    members = [queue(name, shipped, "class" if name == "model" else "function") for name, shipped in ENDPOINTS.items()]
    manifest = {"version": 1, "app": "sums", "endpoints": [*members, pages("site", "welcome")]}

    async def deploy(apps: AppStore) -> None:
        await apps.create_stage("sums", "one")
        await apps.create_stage("sums", "two", expires_in=3600)
        for stage in ("one", "two"):
            await apps.deploy("sums", stage, manifest, base=0)

    with_apps(shared_place, deploy)
    return "sums"


@pytest.mark.slow
def test_functions_methods_and_generators(shared_place: Place, sums: str) -> None:
    def called(*arguments: str, env: Mapping[str, str] | None = None) -> Any:
        return json.loads(shared_place.flash("call", *arguments, "--json", "{}", env=env).good().stdout)

    done = shared_place.flash("call", "add", "--app", sums, "--json", '{"a": 2, "b": 3}').good()
    assert json.loads(done.stdout) == {"sum": 5}
    assert "adding 2 3" in done.stderr
    here = {"FLASH_APP": sums, "FLASH_ENV": "one"}
    assert called("model", "--method", "greet", env=here) == "hello you"
    raw = shared_place.flash("call", "model", "--raw", "--method", "greet", "--json", '{"name": "Ada"}', env=here)
    assert raw.good().stdout == "hello Ada\n"
    assert called("numbers", env=here) == [0, 1, 2]
    assert shared_place.flash("call", "numbers", "--stream", env=here).good().stdout == "0\n1\n2\n"
    assert shared_place.flash("call", "site", "GET", "/page", env=here).good().stdout.startswith("welcome sums one")


@pytest.mark.slow
def test_failures_are_told_as_the_server_or_the_code_tells_them(shared_place: Place, sums: str) -> None:
    here = {"FLASH_APP": sums, "FLASH_ENV": "one"}
    wrong = shared_place.flash("call", "add", "--json", '{"aa": 2}', env=here)
    assert (wrong.status, wrong.stdout) == (1, "")
    assert "input.a" in wrong.stderr
    raised = shared_place.flash("call", "add", "--json", '{"a": -1}', env=here)
    assert (raised.status, raised.stdout) == (1, "")
    assert "in add" in raised.stderr
    assert "error: ValueError: a is negative" in raised.stderr
    method = shared_place.flash("call", "model", "--json", '{"n": 1}', env=here)
    assert method.status == 1
    assert "count" in method.stderr


@pytest.mark.slow
def test_what_a_stage_has_is_listed_by_it(shared_place: Place, sums: str) -> None:
    shared_place.flash("call", "add", "--app", sums, "--env", "two", "--json", '{"a": 1}').good()
    listed = json.loads(shared_place.flash("jobs", "list", "--app", sums, "--env", "two", "--json").good().stdout)
    assert [(job["endpoint"]["name"], job["endpoint"]["stage"]) for job in listed["jobs"]] == [("add", "two")]
    told = shared_place.flash("jobs", "get", listed["jobs"][0]["id"]).good().stdout
    assert "endpoint   add of app sums, environment two" in told
    assert 'output     {"sum": 2}' in told
    lines = shared_place.flash("logs", "add", "--app", sums, "--env", "two").good().stdout
    assert lines.rstrip().endswith("adding 1 1")
    shown = shared_place.flash("status").good().stdout
    assert f"app {sums}, environment one, version 1\n" in shown
    assert f"app {sums}, environment two, version 1, expires in 59 min" in shown
    missing = shared_place.flash("call", "ad", "--app", sums, "--json", "{}")
    assert "app sums has no endpoint 'ad'; did you mean add?" in missing.stderr


def test_an_endpoint_of_a_script_takes_no_plain_input(shared_place: Place) -> None:
    script = """
from runpod_flash import Endpoint
@Endpoint(name="of-a-script", cpu="cpu3c-1-2")
def f(x): return x
if __name__ == "__main__":
    print(f.remote(1))
"""
    shared_place.run_script(script).good()
    refused = shared_place.flash("call", "of-a-script", "--json", '{"x": 1}')
    assert (refused.status, refused.stdout) == (1, "")
    assert "takes no plain input" in refused.stderr
