"""Each code block of the page "Create endpoints" runs here, completed by the least.

`create_endpoints/blocks.md` has the blocks as they are printed, `create_endpoints/NN_*.py` the programs, each of which
says at its top what was added and changed. Packages that are heavy are small stand-ins of the same name.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.engines import stand_in
from tests.support.packages import make_wheel
from tests.support.place import Place

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent / "create_endpoints"
BLOCKS = dict(re.findall(r"## (\w+)\n\n```python\n(.*?)```", (HERE / "blocks.md").read_text(), re.DOTALL))
CHANGED = re.compile(r"changed: (.*)\n +to: (.*)")

TRANSFORMERS = """
VERSION = "4.36.0"

def pipeline(task):
    return f"a pipeline for {task}"

class AutoModel:
    @classmethod
    def from_pretrained(cls, name, token=None):
        assert name and token
        return cls()
"""

QUEUE_COMMAND = """
import json, os, signal, sys, urllib.request
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
key = {"Authorization": os.environ["RUNPOD_AI_API_KEY"]}
take = os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", os.environ["RUNPOD_POD_ID"])
done = os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", os.environ["RUNPOD_POD_ID"])
while True:
    with urllib.request.urlopen(urllib.request.Request(take, headers=key)) as answer:
        if answer.status != 200:
            continue
        job = json.load(answer)
    output = json.dumps({"output": {"said": job["input"]["prompt"]}}).encode()
    form = {**key, "Content-Type": "application/x-www-form-urlencoded"}
    urllib.request.urlopen(urllib.request.Request(done.replace("$ID", job["id"]), data=output, headers=form)).close()
"""

HTTP_COMMAND = """
import http.server, json, os

class Completions(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"data": [{"id": "facebook/opt-125m"}]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer({"path": self.path, "text": asked["prompt"] + " there"})

    def answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_): ...

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Completions).serve_forever()
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stand-ins: newer than the real ones where the block leaves the version open."""
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder, "torch", "99.0")
    make_wheel(folder, "transformers", "4.36.0", module="transformers", text=TRANSFORMERS)
    make_wheel(folder, "pillow", "99.0", module="PIL", text="class Image: ...\n")
    make_wheel(folder, "opencv-python", "99.0", module="cv2")
    make_wheel(folder, "numpy", "1.26.4", module="numpy", text='from builtins import sum\nVERSION = "1.26.4"\n')
    return folder


@pytest.fixture(scope="module")
def endpoints(shared_place: Place) -> Mapping[str, str]:
    """Variables with the ids of a queue endpoint and a load-balanced one that are there already."""
    return {
        "QUEUE_ID": _added(shared_place, "existing-queue", QUEUE_COMMAND),
        "BALANCED_ID": _added(shared_place, "existing-api", HTTP_COMMAND, "--load-balanced"),
    }


def _added(place: Place, name: str, program: str, *options: str) -> str:
    path = place.write(f"{name}.py", program)
    command = f"{sys.executable} {path}"
    added = place.flash("server", "add", "--name", name, "--command", command, "--cpu", "cpu3c-1-2", "--json", *options)
    return str(json.loads(added.good().stdout)["id"])


def program(name: str) -> str:
    """The text of a completed block."""
    return (HERE / f"{name}.py").read_text()


def printed(place: Place, name: str, env: Mapping[str, str] | None = None) -> str:
    """What the program of a block prints."""
    return place.run([str(HERE / f"{name}.py")], env=env, timeout_s=170).good().stdout.strip()


@pytest.fixture(scope="module")
def offline(wheels: Path) -> Mapping[str, str]:
    """Variables with which workers install the stand-ins and nothing else."""
    return {"PIP_FIND_LINKS": str(wheels), "PIP_NO_INDEX": "1"}


@pytest.mark.parametrize("name", BLOCKS)
def test_the_program_has_each_line_of_its_block(name: str) -> None:
    there = iter(line.strip() for line in program(name).splitlines())
    changes = dict(CHANGED.findall(program(name)))
    for line in filter(None, map(str.strip, BLOCKS[name].splitlines())):
        wanted = changes.get(line, line)
        assert any(found == wanted for found in there), f"{name} lacks {wanted!r}, or has it in another place"


def test_there_is_a_program_for_each_block() -> None:
    assert len(BLOCKS) == 18
    assert sorted(BLOCKS) == sorted(path.stem for path in HERE.glob("*.py"))


def test_a_function(shared_place: Place, offline: Mapping[str, str]) -> None:
    assert printed(shared_place, "01_queue_function", offline) == "{'result': 'processed'}"


def test_an_async_function(shared_place: Place, offline: Mapping[str, str]) -> None:
    assert printed(shared_place, "02_queue_async", offline) == "{'processed': True}"


def test_routes(shared_place: Place, wheels: Path) -> None:
    answers = printed(shared_place, "03_routes", {"PIP_FIND_LINKS": str(wheels)})  # FastAPI comes from the index
    assert answers.splitlines() == ["{'prediction': 'result'}", "{'status': 'ok'}", "{'status': 'ok'}"]


def test_an_image(tmp_path: Path) -> None:
    house = Place.below(tmp_path / "house")
    with stand_in(tmp_path / "engine") as engine:
        engine.add("vllm/vllm-openai:latest", sys.executable, "-c", HTTP_COMMAND)
        try:
            answers = printed(house, "04_image", engine.engine.env)
        finally:
            house.close()
    completion, models = {"path": "/v1/completions", "text": "Hello there"}, {"data": [{"id": "facebook/opt-125m"}]}
    assert answers == f"{completion} {models}"


def test_an_existing_endpoint(shared_place: Place, endpoints: Mapping[str, str]) -> None:
    answers = printed(shared_place, "05_existing", endpoints).splitlines()
    assert answers == ["{'said': 'hello'}", "{'path': '/v1/completions', 'text': 'hello there'}"]


def test_gpus(shared_place: Place) -> None:
    assert printed(shared_place, "06_gpu") == "[None, None, None]"


def test_cpus(shared_place: Place) -> None:
    assert printed(shared_place, "07_cpu") == "None None"
    (endpoint,) = [each for each in shared_place.endpoints() if each["name"] == "data-processor"]
    assert endpoint["id"]


def test_workers(place: Place) -> None:
    assert printed(place, "08_workers") == "3"
    workers = {each["name"]: len(each["workers"]) for each in place.endpoints()}
    assert workers["always-on"] >= 2


def test_dependencies(shared_place: Place, offline: Mapping[str, str]) -> None:
    assert printed(shared_place, "09_dependencies", offline) == "4.36.0 99.0 a pipeline for hello"


def test_pinned_versions(shared_place: Place, offline: Mapping[str, str]) -> None:
    assert printed(shared_place, "10_pinned", offline) == "4.36.0 99.0 1.26.4"


def test_an_import_inside_the_function(shared_place: Place, offline: Mapping[str, str]) -> None:
    assert printed(shared_place, "11_import_inside", offline) == "6"


def test_an_import_at_the_top(place: Place, wheels: Path, offline: Mapping[str, str], tmp_path: Path) -> None:
    caller = place.venv(tmp_path / "caller", [str(wheels / "numpy-1.26.4-py3-none-any.whl")])
    path = str(HERE / "12_import_at_top.py")
    assert place.run([path], env=offline, python=caller, timeout_s=170).good().stdout.strip() == "6"


def test_system_packages(shared_place: Place, offline: Mapping[str, str]) -> None:
    done = shared_place.run([str(HERE / "13_system.py")], env=offline, timeout_s=170)
    if done.status == 0:
        assert done.stdout.strip() == "{'processed': True}"
        subprocess.run(["dpkg", "-s", "libgl1-mesa-glx", "libglib2.0-0"], check=True, capture_output=True)
    else:  # this system has no package of that name, or may not install: then it is said, with what to do
        assert "libgl1-mesa-glx" in done.stderr
        assert "InstallError" in done.stderr


def test_gather(shared_place: Place) -> None:
    assert printed(shared_place, "14_gather") == "[2, 4, 6]"


def test_environment_variables(shared_place: Place, offline: Mapping[str, str]) -> None:
    assert printed(shared_place, "15_env", offline) == "{'model_loaded': 'gpt2'}"


def test_a_volume(shared_place: Place) -> None:
    assert printed(shared_place, "16_volume") == "{'weights': '7'}"
    assert not os.path.exists("/runpod-volume")


def test_volumes_of_two_data_centers(shared_place: Place) -> None:
    assert printed(shared_place, "17_volumes") == "{'there': True}"


def test_jobs(shared_place: Place, endpoints: Mapping[str, str]) -> None:
    job_id, *told = printed(shared_place, "18_jobs", endpoints).splitlines()
    assert re.fullmatch(r"[0-9a-f-]{36}-u1", job_id)
    assert told == ["{'said': 'hello'}", "None", "True", "COMPLETED"]
