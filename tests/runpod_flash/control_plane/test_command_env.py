"""What a command finds in its environment, as the published worker package reads it."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from runpod_flash.control_plane.command_env import command_env
from runpod_flash.control_plane.fleet import Pool, PoolKey, Worker
from runpod_flash.control_plane.inventory import Gpu, Grant
from runpod_flash.control_plane.records import EndpointRecord
from tests.support.take_scene import ENDPOINT

API = "http://127.0.0.1:9"


def made(
    endpoint: EndpointRecord = ENDPOINT, *, port: int = 0, grant: Grant | None = None, **env: str
) -> dict[str, str]:
    pool = Pool(PoolKey(endpoint.id, "", "", 1), endpoint.name, None)
    worker = Worker("w-1", "token", "the-key", pool, 1, Path(), grant or Grant(), 0.0, port=port)
    return command_env(worker, endpoint, env, API, 3.0)


def test_the_urls_have_what_the_package_relies_on() -> None:
    env = made()
    take, done, stream = (env[f"RUNPOD_WEBHOOK_{kind}"] for kind in ("GET_JOB", "POST_OUTPUT", "POST_STREAM"))
    assert take == f"{API}/v2/e1/job-take/$ID?gpu=cpu"
    assert done == f"{API}/v2/e1/job-done/$RUNPOD_POD_ID/$ID?gpu=cpu"
    assert stream == f"{API}/v2/e1/job-stream/$RUNPOD_POD_ID/$ID?gpu=cpu"
    assert "?" in take  # it goes on with "&", and replaces "/job-take/"
    assert env["RUNPOD_WEBHOOK_PING"] == f"{API}/v2/e1/ping/$RUNPOD_POD_ID"
    assert env["RUNPOD_AI_API_KEY"] == env["RUNPOD_API_KEY"] == "the-key"
    assert env["RUNPOD_ENDPOINT_BASE_URL"] == f"{API}/v2"
    assert env["RUNPOD_POD_HOSTNAME"] == "w-1"


@pytest.mark.parametrize(("ping_s", "shown"), [(3.0, "3000"), (0.2, "1000"), (0.0, "1000"), (2.6, "3000")])
def test_pings_are_never_more_often_than_the_package_can(ping_s: float, shown: str) -> None:
    pool = Pool(PoolKey("e1", "", "", 1), "palette", None)
    worker = Worker("w-1", "token", "key", pool, 1, Path(), Grant(), 0.0)
    assert command_env(worker, ENDPOINT, {}, API, ping_s)["RUNPOD_PING_INTERVAL"] == shown


def test_gpus_are_named_and_counted() -> None:
    env = made(grant=Grant(tuple(Gpu(index, "NVIDIA RTX A5000", 24) for index in range(2))))
    assert env["RUNPOD_GPU_COUNT"] == "2"
    assert parse_qs(urlsplit(env["RUNPOD_WEBHOOK_GET_JOB"]).query) == {"gpu": ["NVIDIA RTX A5000"]}
    assert made()["RUNPOD_GPU_COUNT"] == "0"


def test_the_checks_of_the_machine_are_skipped_unless_they_are_wanted() -> None:
    assert made()["RUNPOD_SKIP_AUTO_SYSTEM_CHECKS"] == "true"
    assert made(RUNPOD_SKIP_AUTO_SYSTEM_CHECKS="false")["RUNPOD_SKIP_AUTO_SYSTEM_CHECKS"] == "false"


def test_a_load_balanced_one_has_a_port_and_takes_no_jobs() -> None:
    env = made(replace(ENDPOINT, body={**ENDPOINT.body, "type": "LOAD_BALANCER"}), port=4321)
    assert (env["PORT"], env["PORT_HEALTH"]) == ("4321", "4321")
    assert not [name for name in env if "WEBHOOK" in name]
    assert env["RUNPOD_API_KEY"] == "the-key"
