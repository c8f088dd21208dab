"""Endpoints that run an image: in real containers where an engine answers, and over a stand-in everywhere."""

import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import pytest

from tests.support.engines import ENTRY, IMAGE, WORKER, StandIn, TestEngine, real_engine, stand_in
from tests.support.listening_plane import ListeningPlane
from tests.support.place import Place
from tests.support.plane_api import control_plane, plane_client, plane_record
from tests.support.processes import below, processes_of, signal_all
from tests.support.waiting import wait_until

QUEUE: dict[str, Any] = {
    "name": "jobs",
    "type": "QUEUE",
    "image": IMAGE,
    "args": "queue --port=$PORT 'a b'",
    "cpu": [{"id": "cpu3c", "vcpuCount": 1}],
    "workers": {"max": 1},
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.5},
    "env": {"COLOUR": "red\nblue", "HOME": "/its own"},
}
WEB: dict[str, Any] = {
    **QUEUE, "name": "web", "type": "LOAD_BALANCER", "args": "web", "env": {},
    "scaling": {"type": "REQUEST_COUNT", "requestCount": 4},
}  # fmt: skip


@pytest.fixture(params=["stand-in", pytest.param("real", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestEngine]:
    if request.param == "stand-in":
        with stand_in(tmp_path / "engine") as made:
            yield made.engine
        return
    found = real_engine()
    if found is None:
        pytest.skip("no docker or podman engine answers here")
    yield found
    assert not found.containers()


@pytest.fixture
def house(engine: TestEngine, tmp_path: Path) -> Iterator[Place]:
    """A place that is closed before the engine is."""
    house = Place.below(tmp_path / "house")
    yield house
    house.close()


@pytest.fixture
def api(house: Place, engine: TestEngine) -> Iterator[httpx.Client]:
    yield from started(house, engine)


def started(place: Place, engine: TestEngine) -> Iterator[httpx.Client]:
    """A control plane that uses the engine, by its HTTP."""
    place.flash("server", "start", env=engine.env).good()
    with plane_client(place) as client:
        yield client


def made(api: httpx.Client, body: dict[str, Any]) -> str:
    answer = api.post("/v2/serverless", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def ran(api: httpx.Client, endpoint: str, **job_input: Any) -> dict[str, Any]:
    job = api.post(f"/v2/{endpoint}/runsync", json={"input": {"seconds": 0, **job_input}}).json()
    assert job["status"] == "COMPLETED", job
    return dict(job["output"])


def test_a_container_takes_jobs_and_nothing_of_it_is_left(api: httpx.Client, engine: TestEngine, house: Place) -> None:
    endpoint = made(api, QUEUE)
    first = ran(api, endpoint, number=1)
    assert first["input"] == {"seconds": 0, "number": 1}
    assert first["arguments"] == ["queue", "--port=$PORT", "a b"]  # no port where it takes jobs
    assert first["env"]["COLOUR"] == "red\nblue"
    assert first["env"]["HOME"] == "/its own"
    assert first["env"]["OMP_NUM_THREADS"] == "1"
    assert first["env"]["CUDA_VISIBLE_DEVICES"] is None  # its engine shows it the devices that it has
    assert len(engine.containers()) == 1
    if engine.folder is None:
        assert first["cores"] == 1
    parent = next(worker for worker in below(control_plane(house)) if "worker" in " ".join(worker.cmdline()))
    parent.kill()  # with all that it holds, but not the container, which might still take a job until that is noticed
    gone = f"/v2/{endpoint}/metrics"
    wait_until(lambda: first["worker"] not in api.get(gone).text, 20, "the control plane knows that it has gone")
    again = ran(api, endpoint, number=2)
    assert again["worker"] != first["worker"]
    wait_until(lambda: len(engine.containers()) == 1, 20, "the container of the killed worker is removed")
    api.delete(f"/v2/serverless/{endpoint}")
    wait_until(lambda: not engine.containers(), 30, "the container of a deleted endpoint ends")


@pytest.mark.slow
def test_a_container_answers_requests_at_its_port(api: httpx.Client, engine: TestEngine) -> None:
    endpoint = made(api, {**WEB, "args": "web --at $PORT", "startScript": None, "env": {"SHADE": "dark"}})
    answer = api.post(f"/lb/{endpoint}/some/path", json={"x": [1]}).json()
    assert (answer["path"], answer["sent"], answer["env"]["SHADE"]) == ("/some/path", {"x": [1]}, "dark")
    assert answer["arguments"][2].isdigit()
    api.patch(f"/v2/serverless/{endpoint}", json={"env": {"SHADE": "light"}})

    def shade() -> str:
        return str(api.get(f"/lb/{endpoint}/").json()["env"]["SHADE"])

    wait_until(lambda: shade() == "light", 30, "a change of env brings another container")
    wait_until(lambda: len(engine.containers()) == 1, 30, "the old one ends")


@pytest.mark.slow
def test_a_script_runs_in_place_of_the_entry_point(api: httpx.Client, engine: TestEngine) -> None:
    own = ENTRY if engine.folder is None else [sys.executable, str(WORKER)]
    script = f'{shlex.join(own)} queue "$@"'
    endpoint = made(api, {**QUEUE, "startScript": script, "args": "from args"})
    assert ran(api, endpoint)["arguments"] == ["queue", "from", "args"]


@pytest.mark.slow
def test_a_killed_control_plane_leaves_no_container(house: Place, engine: TestEngine) -> None:
    for api in started(house, engine):
        ran(api, made(api, QUEUE))
        assert len(engine.containers()) == 1
        control_plane(house).kill()
        wait_until(lambda: not engine.containers(), 30, "its workers remove their containers")


@pytest.mark.slow
def test_what_was_killed_with_its_workers_is_swept_at_the_next_start(house: Place, engine: TestEngine) -> None:
    for api in started(house, engine):
        ran(api, made(api, QUEUE))
        everything = processes_of(house.home)
        signal_all(everything, signal.SIGSTOP)
        signal_all(everything)
        psutil.wait_procs(everything, 10)
        assert len(engine.containers()) == 1
    for _ in started(house, engine):
        wait_until(lambda: not engine.containers(), 20, "the container that was left behind is removed")


CLIENTS = """
import asyncio
from runpod_flash import Endpoint, PodTemplate, errors

jobs = Endpoint(name="ours", image=IMAGE, cpu="cpu3c-1-2", template=PodTemplate(dockerArgs="queue now"), env={"A": "1"})
web = Endpoint(
    "site", image=IMAGE, cpu="cpu3c-1-2",
    template=PodTemplate(dockerArgs="web", env=[{"key": "SHADE", "value": "dark"}, {"key": "COLOUR", "value": "red"}]),
    env={"COLOUR": "blue"},
)
assert (jobs.is_client, jobs.id, web.is_load_balanced) == (True, None, False)
for early in (jobs.provision, jobs.health):
    try:
        early()
    except errors.FlashError as error:
        print(type(error).__name__)
done = jobs.runsync({"seconds": 0, "x": 1})
print(done.output["input"]["x"], done.output["arguments"], jobs.id == jobs.provision().id)

async def main():
    job = await jobs.run({"seconds": 0, "x": 2})
    await job.wait(timeout=60)
    print(job.output["input"]["x"], (await jobs.health())["jobs"]["completed"])
    answer = await web.post("/v1/completions", {"prompt": "Hello"})
    print(answer["path"], answer["sent"], answer["env"]["SHADE"], answer["env"]["COLOUR"])
    print((await web.get("/v1/models"))["path"], web.is_load_balanced, web.url.endswith("/lb/" + web.id))
asyncio.run(main())
for mixed in (lambda: jobs.get.blocking("/x"), lambda: web.run.blocking({"x": 1}), lambda: web(len)):
    try:
        mixed()
    except errors.ConfigError as error:
        print(error)
"""


@pytest.mark.slow  # that jobs and requests reach a container is tested above
def test_the_sdk_is_a_client_of_its_image(house: Place, engine: TestEngine) -> None:
    script = CLIENTS.replace("IMAGE", repr(IMAGE))
    lines = house.run_script(script, env=engine.env).good().stdout.splitlines()
    assert lines[:7] == [
        "ConfigError",
        "ConfigError",
        "1 ['queue', 'now'] True",
        "2 2",
        "/v1/completions {'prompt': 'Hello'} dark blue",
        "/v1/models True True",
        "endpoint 'ours' has taken jobs (run, runsync) first, so it takes no HTTP requests (get, post …): an image "
        "answers one of the two; declare another Endpoint with another name= for it",
    ]
    assert "'site' has taken HTTP requests" in lines[7]
    assert "is a client of its image" in lines[8]
    other = script.partition("done =")[0] + "print(jobs.get.blocking('/now')['path'])"
    done = house.run_script(other.replace("queue now", "web"), name="other.py", env=engine.env).good()
    assert done.stdout.splitlines()[-1] == "/now"  # another program may decide otherwise: it is made anew
    assert "changes between jobs and HTTP requests, so it is made anew" in done.stderr


@pytest.mark.slow
def test_what_is_missing_is_said(place: Place, tmp_path: Path) -> None:
    """No program; a program whose engine does not answer; an engine that has no such image, and then gets it."""
    stand = StandIn.below(tmp_path / "engine")
    kept = stand.folder / "images" / quote(IMAGE, safe="")
    shutil.move(kept, stand.folder / "elsewhere")
    for api in started(place, TestEngine("none", {"FLASH_CONTAINER_ENGINE": "no-such-engine"})):
        assert "no-such-engine is not on its PATH; install" in failure(api, made(api, QUEUE))
        web = made(api, WEB)
        refused = api.get(f"/lb/{web}/")
        assert refused.status_code >= 400
        assert "no-such-engine" in refused.text
    place.flash("server", "stop").good()
    for api in started(place, stand.engine):
        assert "its engine does not answer" in api.get(f"/lb/{web}/").text
        (endpoint,) = (each["id"] for each in api.get("/v2/serverless").json()["endpoints"] if each["name"] == "jobs")
        said = failure(api, endpoint)
        assert "its engine does not answer" in said
        assert "Is the docker daemon running?" in said
        stand.start()
        try:
            assert "pull access denied" in failure(api, endpoint)
            shutil.move(stand.folder / "elsewhere", stand.folder / "registry" / kept.name)
            assert ran(api, endpoint, number=3)["input"]["number"] == 3
            place.flash("server", "stop").good()
        finally:
            stand.stop()


@pytest.mark.slow
def test_a_server_runs_images_of_others_where_it_has_agreed(house: Place, engine: TestEngine) -> None:
    for agreed in (False, True):
        env = {**engine.env, "FLASH_ALLOW_IMAGES": "1"} if agreed else engine.env
        house.flash("server", "start", "--listen", "127.0.0.1:0", env=env).good()
        server = ListeningPlane(house, str(plane_record(house)["url"]))
        with server.client(server.key("alice")) as alice:
            endpoint = made(alice, {**QUEUE, "name": f"agreed {agreed}"})
            if agreed:
                assert ran(alice, endpoint, number=4)["input"]["number"] == 4
            else:
                assert "must agree to that, with FLASH_ALLOW_IMAGES=1" in failure(alice, endpoint)
        house.flash("server", "stop").good()


def failure(api: httpx.Client, endpoint: str) -> str:
    """Why a job of the endpoint fails."""
    job = api.post(f"/v2/{endpoint}/runsync", json={"input": {"seconds": 0}}).json()
    assert job["status"] == "FAILED", job
    return str(job["error"])
