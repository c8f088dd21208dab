"""Endpoints are found by name, reused, updated in place; code, helpers, globals and settings change as users expect."""

import json
from pathlib import Path

import pytest

from tests.support.place import Place
from tests.support.waiting import wait_until

SCRIPT = """
import asyncio, os, time
from runpod_flash import Endpoint
{before}
MODEL = None
@Endpoint(name="{name}", cpu="cpu3c-1-2", idle_timeout=120{options})
def f(x):
    global MODEL
    if MODEL is None:
        MODEL = time.time_ns()                       # the load of a model
    return {{"model": MODEL, "worker": os.environ["RUNPOD_POD_ID"], "x": {result}, "env": os.environ.get("TOKEN")}}
import json
print(json.dumps(asyncio.run(f(1))))
"""


def answer(
    place: Place, name: str, *, before: str = "", options: str = "", result: str = "x", python: str | None = None
) -> dict[str, object]:
    """Run the script in this form and give what its function returned."""
    text = SCRIPT.format(before=before, name=name, options=options, result=result)
    done = place.run_script(text, name=f"{name}.py", **({"python": python} if python else {}))
    return dict(json.loads(done.good().stdout))


def endpoints(place: Place) -> dict[str, str]:
    """Ids of the endpoints by name."""
    return {entry["name"]: entry["id"] for entry in place.endpoints() if Path(entry["project"]) == place.project}


def test_a_second_run_is_warm(shared_place: Place) -> None:
    first, again = answer(shared_place, "warm"), answer(shared_place, "warm")
    assert again == first


def test_a_change_of_env_keeps_the_endpoint_and_rolls_its_workers(shared_place: Place) -> None:
    one = answer(shared_place, "rolled", options=", env={'TOKEN': 'a'}")
    before = endpoints(shared_place)["rolled"]
    two = answer(shared_place, "rolled", options=", env={'TOKEN': 'b'}")
    assert (one["env"], two["env"]) == ("a", "b")
    assert one["worker"] != two["worker"]
    assert endpoints(shared_place)["rolled"] == before


@pytest.mark.slow
def test_a_change_of_workers_keeps_the_loaded_model(shared_place: Place) -> None:
    one = answer(shared_place, "scaled", options=", workers=(0, 1)")
    before = endpoints(shared_place)["scaled"]
    two = answer(shared_place, "scaled", options=", workers=(0, 3), execution_timeout_ms=60000")
    assert (one["model"], one["worker"]) == (two["model"], two["worker"])
    assert endpoints(shared_place)["scaled"] == before


def test_edited_code_runs_on_the_next_call_of_the_same_endpoint(shared_place: Place) -> None:
    one = answer(shared_place, "edited")
    before = endpoints(shared_place)["edited"]
    two = answer(shared_place, "edited", result="x + 41")
    assert (one["x"], two["x"]) == (1, 42)
    assert endpoints(shared_place)["edited"] == before


@pytest.mark.slow
def test_an_edited_helper_module_runs_on_the_next_call(shared_place: Place) -> None:
    shared_place.write("helper_of_edits.py", "def value(): return 1")
    one = answer(shared_place, "helped", before="import helper_of_edits", result="helper_of_edits.value()")
    shared_place.write("helper_of_edits.py", "def value(): return 2")
    two = answer(shared_place, "helped", before="import helper_of_edits", result="helper_of_edits.value()")
    assert (one["x"], two["x"]) == (1, 2)


def test_a_changed_global_is_seen_by_the_next_call(shared_place: Place) -> None:
    script = """
import asyncio
from runpod_flash import Endpoint
LIMIT, TABLE = 1, {"a": [1]}
@Endpoint(name="globals", cpu="cpu3c-1-2")
def f(): return LIMIT, TABLE
print(asyncio.run(f()))
LIMIT = 2
TABLE["a"].append(3)
print(asyncio.run(f()))
"""
    assert shared_place.run_script(script).good().stdout.splitlines() == ["(1, {'a': [1]})", "(2, {'a': [1, 3]})"]


@pytest.mark.slow
def test_two_scripts_of_one_project_share_workers(shared_place: Place) -> None:
    shared_place.write(
        "shared_code.py",
        """
        import os
        from runpod_flash import Endpoint
        @Endpoint(name="shared", cpu="cpu3c-1-2", idle_timeout=120)
        def f(): return os.environ["RUNPOD_POD_ID"]
        """,
    )
    script = "import asyncio\nfrom shared_code import f\nprint(asyncio.run(f()))"
    one = shared_place.run_script(script, name="one.py").good().stdout
    assert shared_place.run_script("# another\n" + script, name="two.py").good().stdout == one


@pytest.mark.slow
def test_two_projects_with_one_name_do_not_roll_each_other(shared_place: Place, tmp_path: Path) -> None:
    other = Place(shared_place.home, tmp_path)
    one = answer(shared_place, "common", options=", env={'TOKEN': 'here'}")
    two = answer(other, "common", options=", env={'TOKEN': 'there'}", result="-x")
    assert (one["env"], two["env"]) == ("here", "there")
    assert answer(shared_place, "common", options=", env={'TOKEN': 'here'}") == one
    assert answer(other, "common", options=", env={'TOKEN': 'there'}", result="-x") == two


@pytest.mark.slow
def test_two_virtual_environments_with_one_name_do_not_roll_each_other(shared_place: Place, tmp_path: Path) -> None:
    pythons = [
        shared_place.venv(tmp_path / name, [package]) for name, package in (("a", "six==1.16.0"), ("b", "six==1.17.0"))
    ]
    ask = {"before": "import six", "result": "six.__version__"}
    firsts = [answer(shared_place, "venvs", python=python, **ask) for python in pythons]
    assert [first["x"] for first in firsts] == ["1.16.0", "1.17.0"]
    assert [answer(shared_place, "venvs", python=python, **ask) for python in pythons] == firsts


@pytest.mark.slow
def test_scale_to_zero_and_back(shared_place: Place) -> None:
    script = """
import asyncio, os
from runpod_flash import Endpoint
@Endpoint(name="zero", cpu="cpu3c-1-2", idle_timeout=1)
def f(): return os.environ["RUNPOD_POD_ID"]
print(asyncio.run(f()))
"""
    first = shared_place.run_script(script).good().stdout

    def workers() -> int:
        return next(len(entry["workerIds"]) for entry in shared_place.endpoints() if entry["name"] == "zero")

    wait_until(lambda: workers() == 0, 30, "no worker left")
    assert shared_place.run_script(script).good().stdout != first


def test_declarations_that_differ_are_refused_and_equal_ones_share(shared_place: Place) -> None:
    script = """
import asyncio
from runpod_flash import Endpoint
from runpod_flash.errors import ConfigError
@Endpoint(name="twice", cpu="cpu3c-1-2")
def one(): return 1
@Endpoint(name="twice", cpu="cpu3c-1-2")
def two(): return 2
@Endpoint(name="twice", cpu="cpu3c-1-2", workers=4)
def three(): return 3
print(asyncio.run(one()), asyncio.run(two()))
try:
    asyncio.run(three())
except ConfigError as error:
    print("twice" in str(error))
"""
    assert shared_place.run_script(script).good().stdout.split() == ["1", "2", "True"]


@pytest.mark.slow
def test_a_change_between_gpu_and_cpu_makes_the_endpoint_anew(shared_place: Place) -> None:
    script = """
from runpod_flash import Endpoint
@Endpoint(name="family", {hardware})
def f(): return 1
print(f.remote())
"""
    one = shared_place.run_script(script.format(hardware='cpu="cpu3c-1-2"'))
    two = shared_place.run_script(script.format(hardware='gpu="NVIDIA L4", min_cuda_version=None'))
    assert (one.good().stdout, two.good().stdout) == ("1\n", "1\n")
    assert "made anew" in two.stderr


def test_code_of_a_worker_calls_other_endpoints_of_its_project(shared_place: Place) -> None:
    script = """
import asyncio
from runpod_flash import Endpoint
@Endpoint(name="inner", cpu="cpu3c-1-2")
def inner(x, y=5): return x * y
@Endpoint(name="outer", cpu="cpu3c-1-2")
async def outer(x): return await asyncio.gather(inner(x), inner(x + 1, y=2))
@Endpoint(name="blocking", cpu="cpu3c-1-2")
def blocking(x): return inner.remote(x)
@Endpoint(name="fib", cpu="cpu3c-1-2")
async def fib(n): return n if n < 2 else await fib(n - 1) + await fib(n - 2)
print(asyncio.run(outer(2)), blocking.remote(3), asyncio.run(fib(6)))
"""
    assert shared_place.run_script(script).good().stdout.strip() == "[10, 6] 15 8"


def test_what_a_module_level_cache_holds_survives_the_program(shared_place: Place) -> None:
    """An object of a remote class ends with its program; what it loads may live on in the warm worker."""
    script = """
import functools, time
from runpod_flash import Endpoint
@functools.cache
def load(): return time.time_ns()
@Endpoint(name="cached", cpu="cpu3c-1-2", idle_timeout=120)
class Model:
    def __init__(self): self.model, self.calls = load(), 0
    def predict(self):
        self.calls += 1
        return self.model, self.calls
print(Model().predict.remote())
"""
    first = shared_place.run_script(script).good().stdout
    assert shared_place.run_script(script).good().stdout == first


def test_an_endpoint_says_its_id_and_its_url_after_the_first_call(place: Place) -> None:
    done = place.run_script("""
import json, os, urllib.request
from pathlib import Path
from runpod_flash import Endpoint
ep = Endpoint(name="addressed", cpu="cpu3c-1-2")
@ep
def f(x):
    return x
before = ep.id, ep.url
assert f.remote(1) == 1
key = next(Path(os.environ["FLASH_HOME"]).glob("planes/*/key")).read_text().strip()
health = urllib.request.urlopen(urllib.request.Request(ep.url + "/health", headers={"Authorization": f"Bearer {key}"}))
print(before, ep.url.endswith(f"/v2/{ep.id}"), json.load(health)["jobs"]["completed"])
""").good()  # fmt: skip
    assert done.stdout.strip() == "(None, None) True 1"
