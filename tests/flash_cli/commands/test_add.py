"""`flash server add` and `remove`: what is sent, what is refused, and once with a real control plane."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from flash_cli.commands.add import Wanted, body_of
from runpod_flash.errors import ConfigError
from tests.support.place import Place
from tests.support.plane_api import plane_client
from tests.support.waiting import wait_until


def wanted(folder: Path, **changes: Any) -> Wanted:
    settings: dict[str, Any] = {
        "name": "shout", "command": "python handler.py", "directory": folder, "env": [], "workers": (0, 3),
        "idle_timeout": 60, "cpu": "cpu3c-2-4", "load_balanced": False, "timeout_ms": 600_000,
    }  # fmt: skip
    return Wanted(**{**settings, **changes})


def test_the_body_of_a_queue(tmp_path: Path) -> None:
    caller = {"PATH": "/venv/bin:/bin", "VIRTUAL_ENV": "/venv", "HOME": "/home/me", "SECRET": "x"}
    body = body_of(wanted(tmp_path, env=["A=1", "B=x=y", "C="]), caller)
    assert body == {
        "name": "shout",
        "type": "QUEUE",
        "command": "python handler.py",
        "directory": str(tmp_path),
        "env": {"PATH": "/venv/bin:/bin", "VIRTUAL_ENV": "/venv", "A": "1", "B": "x=y", "C": ""},
        "workers": {"min": 0, "max": 3, "idleTimeout": 60},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0},
        "timeout": 600_000,
        "cpu": [{"id": "cpu3c", "vcpuCount": 2}],
    }


def test_the_body_of_a_server_and_of_one_with_a_gpu(tmp_path: Path) -> None:
    body = body_of(wanted(tmp_path, load_balanced=True, workers=(1, 2), cpu=""), {})
    assert (body["type"], body["scaling"]["type"]) == ("LOAD_BALANCER", "REQUEST_COUNT")
    assert (body["workers"]["min"], body["workers"]["max"], body["env"]) == (1, 2, {})
    assert body["gpu"]["pools"]
    assert "cpu" not in body


def test_the_caller_may_set_another_path(tmp_path: Path) -> None:
    assert body_of(wanted(tmp_path, env=["PATH=/mine"]), {"PATH": "/bin"})["env"] == {"PATH": "/mine"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"env": ["A"]}, "--env is 'A'; it must be NAME=VALUE"),
        ({"env": ["=1"]}, "--env is '=1'"),
        ({"cpu": "cpu9z-1-2"}, "--cpu is 'cpu9z-1-2'; it must be one of cpu"),
        ({"directory": Path("no-such-folder")}, "there is no such folder"),
    ],
)
def test_what_is_refused_before_anything_is_sent(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        body_of(wanted(tmp_path, **changes), {})


HANDLER = """
import json, os, pathlib, signal, sys, time
pathlib.Path("seen.json").write_text(json.dumps({"env": dict(os.environ), "cwd": os.getcwd(), "pid": os.getpid()}))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    time.sleep(60)
"""


@pytest.mark.slow
def test_an_endpoint_is_added_runs_its_command_and_is_removed(place: Place) -> None:
    folder = place.write("here/handler.py", HANDLER).parent
    tools = place.project / "tools"
    tools.mkdir()
    (tools / "my-python").symlink_to(sys.executable)
    added = place.run(
        ["-m", "flash_cli", "server", "add", "--name", "shout", "--command", "my-python handler.py", "--env", "A=1",
         "--workers", "1", "1", "--cpu", "cpu3c-1-2"],
        cwd=folder, env={"PATH": f"{tools}:{os.environ['PATH']}"},
    ).good()  # fmt: skip
    assert "(shout)" in added.stdout
    assert "/runsync" in added.stdout
    with plane_client(place) as client:
        (endpoint,) = client.get("/v2/serverless").json()["endpoints"]
        assert endpoint["id"] in added.stdout
        assert (endpoint["command"], endpoint["timeout"]) == ("my-python handler.py", 600_000)
        wait_until(lambda: (folder / "seen.json").exists() and (folder / "seen.json").read_text(), 30, "it runs")
        seen = json.loads((folder / "seen.json").read_text())
        assert seen["cwd"] == str(folder)
        assert seen["env"]["A"] == "1"
        assert seen["env"]["PATH"].split(":")[0] == str(tools)
        assert f"/v2/{endpoint['id']}/job-take/$ID?" in seen["env"]["RUNPOD_WEBHOOK_GET_JOB"]

        again = place.flash("server", "add", "--name", "shout", "--command", "x", "--directory", str(folder))
        assert again.status == 1
        assert "shout" in again.stderr
        assert "Traceback" not in again.stderr

        assert "is removed" in place.flash("server", "remove", "shout").good().stdout
        assert client.get("/v2/serverless").json()["endpoints"] == []
    missing = place.flash("server", "remove", "shout")
    assert missing.status == 1
    assert "there is no endpoint 'shout'" in missing.stderr


def test_json_and_removal_by_id(place: Place) -> None:
    made = json.loads(
        place.flash("server", "add", "--name", "web", "--command", "serve", "--load-balanced", "--json").good().stdout
    )
    assert made["type"] == "LOAD_BALANCER"
    assert made["requestUrls"]["base"].endswith(f"/lb/{made['id']}")
    assert made["id"] in place.flash("server", "remove", made["id"]).good().stdout


@pytest.mark.slow
def test_what_cannot_be_added(place: Place) -> None:
    for arguments, said in (
        (["--name", "x", "--command", "y", "--env", "A"], "NAME=VALUE"),
        (["--name", "x", "--command", "y", "--directory", "nowhere"], "there is no such folder"),
        (["--name", "x", "--command", "y", "--workers", "3", "1"], "workers"),
        (["--name", "x", "--command", ""], "command"),
        (["--name", "", "--command", "y"], "name"),
    ):
        refused = place.flash("server", "add", *arguments)
        assert refused.status in (1, 2), refused.stdout
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
    nobody = place.flash("server", "stop").good()
    assert nobody.stdout
    assert place.flash("server", "remove", "x").status == 1
