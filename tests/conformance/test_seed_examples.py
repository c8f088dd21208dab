"""The documented example requests as they are printed: only host, key and ids are put in."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.conformance.endpoints import Deployments, Endpoint, good, refused
from tests.conformance.running import Runner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLES = Path(__file__).parent / "examples"
HOST = "https://api.runpod.ai"
KEY_NAME, ID_NAME = "RUNPOD_API_KEY", "ENDPOINT_ID"
BODIES = ["minimal.json", "console.json", "webhook.json", "policy.json", "storage.json"]


@pytest.fixture(scope="module")
def endpoint(deployed: Deployments) -> Endpoint:
    """Its handler wants a `prompt` and takes all else."""
    return deployed.endpoint("sync")


def read(name: str) -> str:
    return (EXAMPLES / name).read_text()


def variables(endpoint: Endpoint, runner: Runner) -> dict[str, str]:
    """The environment that the Python and JavaScript examples read."""
    return {KEY_NAME: runner.target.key, ID_NAME: endpoint.id}


def without_comments(text: str) -> str:
    return re.sub(r"//.*$", "", text, flags=re.MULTILINE)


def test_curl(endpoint: Endpoint, runner: Runner) -> None:
    assert shutil.which("curl"), "this test needs the curl command"
    text = read("curl.txt").replace(HOST, runner.target.url)
    text = text.replace("[ENDPOINT_ID]", endpoint.id).replace("[YOUR_API_KEY]", runner.target.key)
    job = json.loads(runner.run(["sh", "-c", text]).good().stdout)
    assert job["status"] == "COMPLETED"
    assert job["output"]["said"] == "A coffee cup."


def test_python(endpoint: Endpoint, runner: Runner) -> None:
    text = read("python.txt").replace("[YOUR_API_KEY]", KEY_NAME).replace("[ENDPOINT_ID]", endpoint.id)
    (runner.folder / "run_sync.py").write_text(text)
    done = runner.run([runner.real.python, "run_sync.py"], variables(endpoint, runner)).good()
    assert done.stdout.strip() == "{'said': 'Hello, world!', 'upper': 'HELLO, WORLD!'}"


def test_javascript(endpoint: Endpoint, runner: Runner) -> None:
    text = read("javascript.txt").replace("[ENDPOINT_ID]", ID_NAME)
    text = text.replace(
        "runpodSdk([YOUR_API_KEY])", f'runpodSdk({KEY_NAME}, {{ baseUrl: "{runner.target.jobs_url}" }})'
    )
    (runner.folder / "run_sync.mjs").write_text(text.replace("[YOUR_API_KEY]", KEY_NAME))
    done = runner.run([runner.real.node, "run_sync.mjs"], variables(endpoint, runner)).good()
    assert "status: 'COMPLETED'" in done.stdout
    assert "said: 'Hello, World!'" in done.stdout


@pytest.mark.parametrize("operation", ["run", "runsync"])
@pytest.mark.parametrize("name", BODIES)
def test_a_body(endpoint: Endpoint, operation: str, name: str) -> None:
    body = without_comments(read(name)) if name == "policy.json" else read(name)
    answer = good(endpoint.post(operation, content=body, headers={"Content-Type": "application/json"}))
    job = endpoint.ended(answer["id"])
    assert job["status"] == "COMPLETED"
    assert job["output"]["said"] == json.loads(body)["input"]["prompt"]


@pytest.mark.parametrize("operation", ["run", "runsync"])
def test_comments_are_no_json(endpoint: Endpoint, operation: str) -> None:
    assert "//" in read("policy.json")
    refused(endpoint.post(operation, content=read("policy.json"), headers={"Content-Type": "application/json"}), 400)


def test_the_first_reply(endpoint: Endpoint) -> None:
    reply, documented = good(endpoint.post("run", content=read("console.json"))), json.loads(read("console_reply.json"))
    assert set(reply) == set(documented)
    assert reply["status"] == documented["status"]
    shape = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-u1")
    assert shape.fullmatch(documented["id"])
    assert shape.fullmatch(reply["id"])


@pytest.mark.parametrize("operation", ["run", "runsync"])
def test_the_two_kinds_of_request(endpoint: Endpoint, operation: str) -> None:
    method, url = read(f"{operation}_request.txt").split()
    path = url.removeprefix(HOST).replace("{endpoint_id}", endpoint.id)
    good(endpoint.http.request(method, path, json={"input": {"prompt": "a"}}))
