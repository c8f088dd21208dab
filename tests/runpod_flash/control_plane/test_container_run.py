"""The command line of a container."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane.container_run import ContainerRun, Share, container_run
from runpod_flash.control_plane.containers import Engine
from runpod_flash.control_plane.inventory import Grant, fake
from runpod_flash.control_plane.records import EndpointRecord

GPUS = Grant(fake("NVIDIA L4:24,NVIDIA L4:24"))


def run(env: dict[str, str] | None = None, *, program: str = "/bin/docker", **body: Any) -> ContainerRun:
    engine = Engine(program, "", {"PATH": "/bin", "DOCKER_HOST": "unix:///x"}, "p1", Path("marker"))
    record = EndpointRecord("e1", "", "llm", {"image": "a/b:1", **body}, "", 1, 0.0)
    share = Share(GPUS if body.get("gpu") else Grant(), volume="/srv/v1" if body.get("networkVolumes") else None)
    if body.get("cpu"):
        share = Share(Grant(), (2, 3), 2048)
    return container_run(engine, "w-1", record, env or {}, share)


def words(found: ContainerRun) -> list[str]:
    """The words after the shell's `exec`."""
    first, *rest = shlex.split(found.command)
    assert first == "exec"
    return rest


def test_how_it_is_named_held_and_removed() -> None:
    found = run()
    assert words(found) == [
        "/bin/docker", "run", "--rm", "--init", "--name", "flash-w-1", "--label", "flash.plane=p1",
        "--network", "host", "--cap-drop", "NET_RAW", "a/b:1",
    ]  # fmt: skip
    assert found.farewell == ("/bin/docker", "rm", "--force", "flash-w-1")
    assert found.env == {"PATH": "/bin", "DOCKER_HOST": "unix:///x"}


def test_secrets_go_by_name_and_what_would_mislead_the_program_does_not_reach_it() -> None:
    env = {"TOKEN": "hunter2", "PATH": "/image/bin", "DOCKER_HOST": "tcp://evil", "LD_PRELOAD": "x.so", "odd.name": "1"}
    found = run({**env, "GOOGLE_KEY": "secret", "http_proxy": "http://p"})
    line = words(found)
    assert {line[place + 1] for place, word in enumerate(line) if word == "--env"} == {
        "TOKEN", "GOOGLE_KEY", "PATH=/image/bin", "DOCKER_HOST=tcp://evil", "LD_PRELOAD=x.so", "odd.name=1",
        "http_proxy=http://p",
    }  # fmt: skip
    assert "hunter2" not in found.command
    assert found.env == {"PATH": "/bin", "DOCKER_HOST": "unix:///x", "TOKEN": "hunter2", "GOOGLE_KEY": "secret"}


def test_its_share_of_the_machine() -> None:
    sized = words(run(cpu=[{"id": "cpu3c", "vcpuCount": 1}]))
    assert sized[-5:-1] == ["--cpuset-cpus", "2,3", "--memory", "2048m"]
    assert words(run(networkVolumes=["v1"]))[-3:-1] == ["--volume", "/srv/v1:/runpod-volume"]
    assert words(run(gpu={"pools": ["AMPERE_24"]}))[-3:-1] == ["--gpus", '"device=0,1"']
    by_podman = run(gpu={"pools": ["AMPERE_24"]}, program="/usr/bin/podman")
    podman = words(by_podman)
    assert podman[:3] == ["/usr/bin/podman", "--remote", "run"]
    assert by_podman.farewell[:3] == ("/usr/bin/podman", "--remote", "rm")
    assert podman[-5:-1] == ["--device", "nvidia.com/gpu=0", "--device", "nvidia.com/gpu=1"]


@pytest.mark.parametrize(
    ("body", "end"),
    [
        ({"args": "--port $PORT '--name=a b'"}, ["a/b:1", "--port", "81", "--name=a b"]),
        ({"args": "${PORT}/$PORTAL; rm -rf $(x)"}, ["a/b:1", "81/$PORTAL;", "rm", "-rf", "$(x)"]),
        (
            {"startScript": "serve; exit 3", "args": "one two"},
            ["--entrypoint", "/bin/sh", "a/b:1", "-c", "serve; exit 3", "sh", "one", "two"],
        ),
    ],
)
def test_arguments_are_the_containers_and_never_the_shells(body: dict[str, str], end: list[str]) -> None:
    assert words(run({"PORT": "81"}, **body))[-len(end) :] == end
