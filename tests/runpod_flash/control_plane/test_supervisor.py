"""The life of workers: those that the test plays, then real processes."""

import asyncio
import hashlib
import re
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import pytest

from runpod_flash.control_plane import crashes, supervisor
from runpod_flash.control_plane.containers import Engine
from runpod_flash.control_plane.environments import Environment
from runpod_flash.control_plane.fleet import Worker, WorkerState
from runpod_flash.control_plane.launchers.process import ProcessLauncher
from runpod_flash.control_plane.links import LinkServer
from runpod_flash.control_plane.principals import Pickles
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.shared_values import NoMemory
from tests.support.memory_fleet import MemoryArtifacts
from tests.support.small_plane import BODY, SmallPlane, small_plane
from worker_runtime.wire import messages, paths, payload
from worker_runtime.wire.jobs import Call, ErrorInfo, ErrorKind, JobStatus, Payload, read_output
from worker_runtime.wire.ranges import Range
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest, WorkerLaunch

Test: TypeAlias = Callable[[SmallPlane], Coroutine[Any, Any, None]]


def played(test: Test, **site: Any) -> Callable[[Path], None]:
    """Run an async test with a plane of its own."""

    async def with_plane(folder: Path) -> None:
        async with small_plane(folder, **site) as plane, asyncio.timeout(20):
            await test(plane)

    def run(tmp_path: Path) -> None:
        asyncio.run(with_plane(tmp_path))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def one_worker(plane: SmallPlane, **changes: Any) -> tuple[str, str]:
    """An endpoint with a job that a ready worker has; returns the ids of both."""
    endpoint = await plane.endpoint(**changes)
    record = await plane.submit(endpoint)
    await plane.until(lambda: plane.launcher.alive)
    plane.connect()
    await plane.until(lambda: record.id in plane.launcher.processes[-1].calls)
    return endpoint, record.id


def error_of(plane: SmallPlane, endpoint: str, job: str) -> ErrorInfo:
    found = read_output(plane.platform.job(endpoint, job).output)
    assert isinstance(found, ErrorInfo)
    return found


# ---- what a worker is started with


async def launched(plane: SmallPlane, **changes: Any) -> WorkerLaunch:
    endpoint = await plane.endpoint(**changes)
    await plane.submit(endpoint)
    await plane.until(lambda: [one for one in plane.launcher.processes if one.launch.endpoint == endpoint])
    found: WorkerLaunch = plane.launcher.processes[-1].launch
    return found


@played
async def test_the_environment_of_user_code(plane: SmallPlane) -> None:
    plane.supervisor.api_url = "http://127.0.0.1:1"
    plane.environments.environment = Environment(
        "environment", sys.executable, overlay="/usr", path_entries=("/overlay/bin", "/venv/bin")
    )
    launch = await launched(
        plane, env={"A": "1", "PYTHONPATH": "/mine", "CUDA_VISIBLE_DEVICES": "5", "FLASH_PROJECT": "x"}
    )
    assert (launch.python, launch.overlay) == (sys.executable, "/usr")
    assert launch.env["PATH"] == "/overlay/bin:/venv/bin:/usr/bin:/bin"
    assert launch.env["PYTHONPATH"] == "/usr:/mine"
    assert (launch.env["A"], launch.env["CUDA_VISIBLE_DEVICES"], launch.env["FLASH_PROJECT"]) == ("1", "", "/p")
    assert launch.env["RUNPOD_ENDPOINT_ID"] == launch.endpoint
    assert launch.env["FLASH_TARGET"] == "http://127.0.0.1:1"
    assert launch.env["FLASH_API_KEY"] in [each.key for each in plane.supervisor.worker_keys()]
    assert "HOME" not in launch.env  # what the control plane has is not passed on by itself


def test_a_worker_is_told_whether_it_may_load_pickles(tmp_path: Path) -> None:
    async def pickles_of(owner: str, folder: Path) -> bool:
        async with small_plane(folder, pickles=Pickles.OWNER) as plane, asyncio.timeout(20):
            endpoint = await plane.catalog.create("/p", {**BODY, "name": "one"}, owner)
            await plane.submit(endpoint.id)
            await plane.until(lambda: plane.launcher.processes)
            return bool(plane.launcher.processes[-1].launch.pickles)

    for owner in ("", "alice"):
        (tmp_path / f"of-{owner}").mkdir()
        assert asyncio.run(pickles_of(owner, tmp_path / f"of-{owner}")) is (owner == "")


@played
async def test_the_keys_of_workers_say_for_whom_they_run(plane: SmallPlane) -> None:
    endpoint = await plane.catalog.create("/p", {**BODY, "name": "hers"}, "alice")
    await plane.submit(endpoint.id)
    await plane.until(lambda: plane.launcher.alive)
    (found,) = plane.supervisor.worker_keys()
    assert (found.owner, found.worker) == ("alice", plane.launcher.alive[0].launch.worker)


@played
async def test_a_cpu_size_sets_cores_and_threads_in_turn_around_the_machine(plane: SmallPlane) -> None:
    plane.environments.environment = Environment("environment", sys.executable)
    sizes = [[{"id": "cpu3c", "vcpuCount": count}] for count in (2, 1, 2, 8)]
    launches = [await launched(plane, cpu=size) for size in sizes]
    assert [launch.cpus for launch in launches] == [(0, 1), (2,), (0, 3), ()]
    assert [launch.env.get("OMP_NUM_THREADS") for launch in launches] == ["2", "1", "2", None]
    assert "PYTHONPATH" not in launches[0].env


@played
async def test_workers_get_the_folder_of_their_volume_and_are_told_which(plane: SmallPlane) -> None:
    assert plane.volumes is not None
    volume = await plane.volumes.create("/p", "models", 10, "EU-RO-1")
    launch = await launched(plane, networkVolumes=[volume.id])
    assert launch.volume == str(plane.volumes.files(volume.id))
    assert (launch.env["RUNPOD_VOLUME_ID"], launch.env["RUNPOD_DC_ID"]) == (volume.id, "EU-RO-1")
    assert (await launched(plane)).volume is None


@played
async def test_without_its_volume_no_job_of_an_endpoint_waits(plane: SmallPlane) -> None:
    assert plane.volumes is not None
    volume = await plane.volumes.create("/p", "models", 10, "EU-RO-1")
    endpoint = await plane.endpoint(networkVolumes=[volume.id])
    job = await plane.submit(endpoint)
    await plane.until(lambda: plane.launcher.alive)
    plane.launcher.alive[0].end(3)  # as a worker does that cannot mount it
    assert "cannot be mounted at /runpod-volume on this machine" in await failure_of(plane, endpoint, job)
    await plane.volumes.delete(volume.id)
    again = await plane.submit(endpoint)
    assert f"there is no network volume '{volume.id}'" in await failure_of(plane, endpoint, again)


async def failure_of(plane: SmallPlane, endpoint: str, job: JobRecord) -> str:
    """What a job's error says, once it has failed."""
    await plane.until(lambda: plane.platform.job(endpoint, job.id).status.final)
    return str(plane.platform.job(endpoint, job.id).error)


@pytest.mark.parametrize(
    ("changes", "memory_mb"),
    [
        ({"cpu": [{"id": "cpu3c", "vcpuCount": 1}]}, 2048),
        ({"cpu": [{"id": "cpu3g", "vcpuCount": 4}]}, 16384),
        ({"cpu": [{"id": "cpu3c", "vcpuCount": 2}, {"id": "cpu3c", "vcpuCount": 4}]}, 4096),
        ({"cpu": [{"id": "cpu3g", "vcpuCount": 2}, {"id": "cpu3c", "vcpuCount": 2}]}, 8192),
        ({"cpu": [{"id": "one of tomorrow", "vcpuCount": 2}]}, 0),
        ({"cpu": []}, 0),
        ({"gpu": {"pools": ["ADA_24"], "count": 1}}, 0),
        ({}, 0),
    ],
)
def test_a_cpu_size_has_its_memory_and_a_gpu_has_no_limit(
    changes: dict[str, Any], memory_mb: int, tmp_path: Path
) -> None:
    async def play(plane: SmallPlane) -> None:
        assert (await launched(plane, **changes)).memory_mb == memory_mb

    played(play, gpus="NVIDIA GeForce RTX 4090:24")(tmp_path)


# ---- images

IMAGE: dict[str, Any] = {"image": "a/b:1", "env": {"A": "1"}, "cpu": [{"id": "cpu3c", "vcpuCount": 1}]}


def engine(folder: Path, **changes: Any) -> Engine:
    """An engine whose program says yes to everything."""
    found: dict[str, Any] = {"program": "/bin/true", "wanted": "docker", "env": {"PATH": "/bin"}, "plane": "p1"}
    return Engine(marker=folder / "marker", **{**found, **changes})


def test_a_worker_of_an_image_holds_the_engines_program(tmp_path: Path) -> None:
    async def play(plane: SmallPlane) -> None:
        plane.supervisor.api_url = "http://127.0.0.1:1"
        launch = await launched(plane, **IMAGE)
        assert launch.command is not None
        assert launch.command.startswith("exec /bin/true run ")
        assert launch.farewell == ("/bin/true", "rm", "--force", f"flash-{launch.worker}")
        assert (launch.env["A"], launch.env["OMP_NUM_THREADS"], launch.memory_mb) == ("1", "1", 2048)
        assert "CUDA_VISIBLE_DEVICES" not in launch.env
        assert not launch.must_isolate  # or its program would not reach the engine
        assert (await launched(plane, command="serve", image="a/b:1")).command == "serve"

    played(play, engine=engine(tmp_path), must_isolate=True)(tmp_path)


@pytest.mark.parametrize(("env", "own"), [({"PORT": "8000"}, True), ({"PORT": "many"}, False), ({}, False)])
def test_an_image_may_say_its_port(env: dict[str, str], own: bool, tmp_path: Path) -> None:
    async def play(plane: SmallPlane) -> None:
        scaling = {"type": "REQUEST_COUNT", "requestCount": 1}
        body = {**IMAGE, "env": env, "type": "LOAD_BALANCER", "scaling": scaling, "workers": {"min": 1, "max": 1}}
        await plane.endpoint(**body)
        await plane.until(plane.workers)
        (worker,) = plane.workers()
        assert (worker.port == 8000) is own
        assert worker.port > 0

    played(play, engine=engine(tmp_path))(tmp_path)


@pytest.mark.parametrize(
    ("changes", "owner", "said"),
    [
        ({"program": None}, "", "docker is not on its PATH"),
        ({}, "alice", "image a/b:1 of user alice is not run: .* FLASH_ALLOW_IMAGES=1"),
        (None, "", "this platform runs none"),
    ],
)
def test_why_an_image_cannot_run(changes: dict[str, Any] | None, owner: str, said: str, tmp_path: Path) -> None:
    async def play(plane: SmallPlane) -> None:
        record = await plane.catalog.create("/p", {**BODY, **IMAGE}, owner)
        refusal = plane.supervisor.refusal(record)
        assert refusal is not None
        assert (refusal.kind, bool(re.search(said, refusal.message))) == (ErrorKind.INFEASIBLE, True)
        plain = await plane.catalog.create("/p", {**BODY, "name": "plain"}, owner)
        assert plane.supervisor.refusal(plain) is None

    played(play, engine=None if changes is None else engine(tmp_path, **changes))(tmp_path)


# ---- how workers end


@played
async def test_a_worker_that_goes_takes_its_place_and_key_along(plane: SmallPlane) -> None:
    endpoint, job = await one_worker(plane)
    (worker,) = plane.workers()
    plane.supervisor.gone(worker, "exited with code 3", ["last words"])
    await plane.until(lambda: len(plane.launcher.processes) == 2)
    await plane.until(lambda: worker.key not in [each.key for each in plane.supervisor.worker_keys()])
    assert plane.launcher.processes[0].closed
    plane.connect()
    await plane.until(lambda: plane.launcher.processes[1].calls)
    (worker,) = plane.workers()
    plane.supervisor.gone(worker, "exited with code 3", ["last words"])
    await plane.until(lambda: plane.platform.job(endpoint, job).status.final)
    assert error_of(plane, endpoint, job).message == "the worker was lost: exited with code 3\nlast words"


OUT_OF_MEMORY = ErrorInfo(ErrorKind.OUT_OF_MEMORY, "OutOfMemory", "the worker's processes used 3 GB")


@pytest.mark.parametrize(("retries", "starts"), [(None, 2), (0, 1)])
def test_a_call_that_ran_out_of_memory_starts_on_another_worker_as_often_as_it_may(
    retries: int | None, starts: int, tmp_path: Path
) -> None:
    async def play(plane: SmallPlane) -> None:
        endpoint = await plane.endpoint()
        for number in range(1, crashes.ENDS // starts + 2):  # no number of them is a reason to give the endpoint up
            record = await plane.submit(endpoint, plane.call(retries=retries))
            for _ in range(starts):
                await plane.until(lambda record=record: _calls(plane, record.id))  # type: ignore[misc]
                (worker,) = plane.workers()
                plane.supervisor.retire(worker)
                plane.finish(error=OUT_OF_MEMORY)
                plane.supervisor.gone(worker, OUT_OF_MEMORY.message, [])
            await plane.until(lambda record=record: plane.platform.job(endpoint, record.id).status.final)  # type: ignore[misc]
            assert error_of(plane, endpoint, record.id) == OUT_OF_MEMORY
            assert len(plane.launcher.processes) == starts * number

    played(play)(tmp_path)


def _calls(plane: SmallPlane, job: str) -> bool:
    """Let workers connect; whether a living one has the call."""
    plane.connect()
    return any(job in process.calls for process in plane.launcher.alive)


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_KILL_S", 0.05)
    monkeypatch.setattr(supervisor, "_START_TIMEOUT_S", 0.05)


@pytest.mark.usefixtures("_impatient")
def test_a_worker_that_hears_no_sigterm_is_killed(tmp_path: Path) -> None:
    async def play(plane: SmallPlane) -> None:
        plane.launcher.deaf = True
        await one_worker(plane)
        process = plane.launcher.processes[0]
        (worker,) = plane.workers()
        plane.supervisor.gone(worker, "its link broke", [])
        await plane.until(process.code.done)
        assert process.code.result() == -9

    played(play)(tmp_path)


@pytest.mark.usefixtures("_impatient")
def test_a_worker_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    async def play(plane: SmallPlane) -> None:
        endpoint = await plane.endpoint()
        record = await plane.submit(endpoint)
        await plane.until(lambda: plane.platform.job(endpoint, record.id).status.final)
        assert "not ready after" in error_of(plane, endpoint, record.id).message
        assert len(plane.launcher.processes) == crashes.STARTS
        assert plane.launcher.alive == []

    played(play)(tmp_path)


def test_a_worker_that_is_silent_is_killed_and_one_that_starts_silently_counts_as_a_failed_start(
    tmp_path: Path,
) -> None:
    async def play(plane: SmallPlane) -> None:
        endpoint = await plane.endpoint()
        record = await plane.submit(endpoint)
        for number in range(crashes.STARTS):
            await plane.until(lambda number=number: len(plane.launcher.processes) == number + 1)  # type: ignore[misc]
            plane.connect(ready=False)
            plane.supervisor.check_leases()
            assert not plane.launcher.processes[-1].code.done()
            await asyncio.sleep(0.06)
            plane.supervisor.check_leases()
            assert plane.launcher.processes[-1].code.result() == -9
            await plane.turns()
        await plane.until(lambda: plane.platform.job(endpoint, record.id).status.final)
        assert "silent for 0.05 s" in error_of(plane, endpoint, record.id).message

    played(play, lease_s=0.05)(tmp_path)


def test_a_worker_that_beats_keeps_its_lease(tmp_path: Path) -> None:
    async def play(plane: SmallPlane) -> None:
        await one_worker(plane)
        (worker,) = plane.workers()
        for _ in range(4):
            await asyncio.sleep(0.03)
            plane.supervisor.beat(worker)
            plane.supervisor.check_leases()
        assert plane.workers() == [worker]

    played(play, lease_s=0.05)(tmp_path)


@played
async def test_a_worker_that_is_retired_finishes_what_it_runs_and_its_objects_move(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    for _ in range(2):
        await plane.submit(endpoint, plane.call(instance="thing"))
    await plane.until(lambda: plane.launcher.alive)
    plane.connect()
    await plane.until(lambda: plane.launcher.processes[0].calls)
    (worker,) = plane.workers()
    assert len(worker.queue) == 1
    plane.supervisor.retire(worker)
    assert (len(worker.queue), len(worker.pool.queue)) == (0, 1)
    plane.finish()
    await plane.until(plane.launcher.processes[0].code.done)
    await plane.until(lambda: plane.launcher.alive)
    plane.connect()
    await plane.until(lambda: plane.launcher.alive[0].calls)
    assert len(plane.events.of("notice")) == 1


@played
async def test_a_worker_that_is_stopped_before_it_is_there_is_ended_when_it_comes(plane: SmallPlane) -> None:
    plane.launcher.deaf = True
    endpoint = await plane.endpoint()
    record = await plane.submit(endpoint)
    await plane.until(lambda: plane.launcher.alive)
    plane.dispatcher.cancel(plane.job(record))
    (worker,) = plane.workers()
    plane.supervisor.retire(worker)
    process = plane.launcher.processes[0]
    process.deaf = False
    plane.connect()
    await plane.until(process.code.done)
    assert process.frames == []
    await plane.until(lambda: not plane.workers())


@played
async def test_code_that_is_gone_from_the_disk_is_told(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    record = await plane.submit(endpoint)
    await plane.until(lambda: plane.launcher.alive)
    plane.artifacts.held.clear()
    plane.dispatcher.pools._artifacts._kept.clear()  # of the last ones, which it has in memory
    plane.connect()
    await plane.until(lambda: plane.platform.job(endpoint, record.id).status.final)
    error = error_of(plane, endpoint, record.id)
    assert (error.kind, "call again" in error.message) == (ErrorKind.PLATFORM, True)
    await plane.until(lambda: not plane.launcher.alive)


@played
async def test_a_build_that_fails_in_an_unforeseen_way_fails_the_jobs(plane: SmallPlane) -> None:
    plane.environments.failure = RuntimeError("out of luck")
    endpoint = await plane.endpoint()
    record = await plane.submit(endpoint)
    await plane.until(lambda: plane.platform.job(endpoint, record.id).status.final)
    error = error_of(plane, endpoint, record.id)
    assert (error.kind, "out of luck" in error.message) == (ErrorKind.PLATFORM, True)


@played
async def test_an_environment_that_is_not_there_when_it_is_built_is_an_error_and_no_loop(plane: SmallPlane) -> None:
    plane.environments.environment = Environment("environment", "/nowhere/python")
    endpoint = await plane.endpoint(workers={"min": 1, "max": 1, "idleTimeout": 60})
    record = await plane.submit(endpoint)
    await plane.until(lambda: plane.platform.job(endpoint, record.id).status.final)
    assert error_of(plane, endpoint, record.id).kind is ErrorKind.INSTALL
    await plane.turns(200)
    assert plane.environments.builds == 1


@played
async def test_an_error_that_cannot_be_read_is_an_error_of_the_platform(plane: SmallPlane) -> None:
    endpoint, job = await one_worker(plane)
    (worker,) = plane.workers()
    broken = {"kind": "user", "type": "T", "message": "m", "exception": "no base64!"}
    plane.supervisor.finished(worker, job, 1, broken, b"")
    await plane.until(lambda: plane.platform.job(endpoint, job).status.final)
    assert error_of(plane, endpoint, job).kind is ErrorKind.PLATFORM


class Left(NoMemory):
    """Memory that workers have shared whose processes have ended."""

    def has_left(self, worker: str) -> bool:
        return True


@played
async def test_a_result_that_is_gone_with_its_process_is_an_attempt_that_was_lost(plane: SmallPlane) -> None:
    endpoint, job = await one_worker(plane)
    (worker,) = plane.workers()
    plane.dispatcher.share(Left())
    plane.supervisor.finished(worker, job, 1, None, Range(1, 2, 3, 4))
    await plane.until(lambda: worker.state is WorkerState.GONE)
    await plane.until(lambda: plane.launcher.alive)
    plane.connect()
    await plane.until(lambda: job in plane.launcher.processes[-1].calls)
    record = plane.platform.job(endpoint, job)
    assert (record.attempts, record.retries) == (2, 1)
    assert plane.launcher.processes[-1] is not plane.launcher.processes[0]


@played
async def test_notices_of_an_environment_reach_the_client(plane: SmallPlane) -> None:
    plane.environments.environment = Environment("environment", sys.executable, notices=("one", "two"))
    endpoint = await plane.endpoint()
    await plane.serve(endpoint)
    assert [event["message"].rpartition(": ")[2] for event in plane.events.of("notice")] == ["one", "two"]
    assert len({event["key"] for event in plane.events.of("notice")}) == 2


# ---- real processes


def shipped(source: MemoryArtifacts, target: Any) -> str:
    code = payload.encode(target)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(code).hexdigest()
    manifest = ArtifactManifest("function", "f", digest, EnvironmentRequest(python))
    source.held[manifest.id] = paths.pack(manifest, code, {})
    return manifest.id


def test_a_real_worker_runs_a_call_and_nothing_of_it_is_left(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    address = tmp_path_factory.mktemp("s") / "w.sock"

    def facts() -> tuple[int, int, str, str]:
        import os
        import subprocess

        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        return os.getppid(), child.pid, os.getcwd(), os.environ["RUNPOD_POD_ID"]

    async def play(plane: SmallPlane) -> None:
        links = LinkServer(plane.supervisor)
        await links.start(str(address))
        endpoint = await plane.endpoint()
        call = Call(shipped(plane.artifacts, facts), Payload.of(payload.encode(((), {}))))
        record = await plane.submit(endpoint, call)
        ended = await plane.platform.wait(record.id, 15)
        assert ended.status is JobStatus.COMPLETED, ended.error
        found = read_output(ended.output)
        assert isinstance(found, Payload)
        *_, folder, pod = payload.decode(found.inline or b"")
        (worker,) = plane.workers()
        assert worker.process is not None
        assert (pod, Path(folder)) == (worker.id, worker.folder / "run")
        below = psutil.Process(worker.process.pid).children(recursive=True)
        assert any(process.cmdline() == ["sleep", "600"] for process in below)
        plane.supervisor.stop(worker)
        await plane.until(lambda: plane.supervisor.worker_keys() == [], 15)
        assert [process for process in below if _lives(process)] == []
        await plane.until(lambda: not worker.folder.exists())
        await links.close()

    played(play, launcher=ProcessLauncher(), address=f"unix:{address}")(tmp_path)


def test_closing_ends_real_workers_in_the_midst_of_a_call(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    address = tmp_path_factory.mktemp("s") / "w.sock"
    started: list[psutil.Process] = []

    def forever() -> None:
        import time

        time.sleep(600)

    async def play(plane: SmallPlane) -> None:
        links = LinkServer(plane.supervisor)
        await links.start(str(address))
        endpoint = await plane.endpoint()
        call = Call(shipped(plane.artifacts, forever), Payload.of(payload.encode(((), {}))))
        await plane.submit(endpoint, call)
        await plane.until(lambda: plane.workers(WorkerState.READY), 15)
        (worker,) = plane.workers()
        assert worker.process is not None
        await plane.until(lambda: messages.RUN and worker.running)
        started.extend([psutil.Process(worker.process.pid), *psutil.Process(worker.process.pid).children(True)])
        plane.autoscaler.close()
        plane.dispatcher.stop()
        await plane.supervisor.close()
        await links.close()

    played(play, launcher=ProcessLauncher(), address=f"unix:{address}")(tmp_path)
    assert [process for process in started if _lives(process)] == []


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


# ---- workers of commands


async def commanded(plane: SmallPlane, **changes: Any) -> Worker:
    """The worker of an endpoint that is to have one, its command under way."""
    body = {"command": "serve --now", "workers": {"min": 1, "max": 1, "idleTimeout": 60}, **changes}
    await plane.endpoint(**body)
    await plane.until(lambda: plane.launcher.alive)
    plane.connect(ready=False)
    (worker,) = plane.workers()
    return worker


@played
async def test_a_command_starts_as_it_is_with_the_published_variables(plane: SmallPlane) -> None:
    plane.supervisor.api_url = "http://127.0.0.1:1"
    worker = await commanded(plane, directory="/srv", env={"A": "1", "PATH": "/mine/bin", "RUNPOD_POD_ID": "mine"})
    launch = plane.launcher.processes[0].launch
    assert (launch.command, launch.directory, launch.python) == ("serve --now", "/srv", "/bin/sh")
    assert (launch.env["A"], launch.env["PATH"]) == ("1", "/mine/bin")
    assert (launch.env["RUNPOD_POD_ID"], launch.env["RUNPOD_AI_API_KEY"]) == (worker.id, worker.key)
    assert launch.env["RUNPOD_WEBHOOK_GET_JOB"].startswith(f"http://127.0.0.1:1/v2/{launch.endpoint}/job-take/$ID?")
    assert (worker.port, "PORT" in launch.env) == (0, False)
    assert plane.launcher.processes[0].frames == [{"type": messages.WELCOME}]


def test_a_key_for_the_cloud_is_hidden_from_commands_alone(tmp_path: Path) -> None:
    async def rule(plane: SmallPlane) -> None:
        await commanded(plane)
        await plane.submit(await plane.endpoint())
        await plane.until(lambda: len(plane.launcher.processes) == 2)
        hidden = [process.launch.hidden for process in plane.launcher.processes]
        assert hidden == [("/secret", "/home/me/.runpod"), ("/secret",)]

    played(rule, hidden=("/secret",), base_env={"HOME": "/home/me"})(tmp_path)


@played
async def test_load_balanced_commands_have_ports_of_their_own(plane: SmallPlane) -> None:
    changes = {"type": "LOAD_BALANCER", "command": "serve", "workers": {"min": 2, "max": 2, "idleTimeout": 60}}
    await plane.endpoint(**changes)
    await plane.until(lambda: len(plane.launcher.alive) == 2)
    ports = [process.launch.env["PORT"] for process in plane.launcher.alive]
    assert sorted(ports) == sorted(str(worker.port) for worker in plane.workers())
    assert len(set(ports)) == 2


@played
async def test_who_is_told_of_a_command_that_comes_leaves_and_goes(plane: SmallPlane) -> None:
    heard = list[tuple[str, str]]()
    plane.supervisor.on_connected = lambda worker: heard.append(("connected", worker.id))
    plane.supervisor.on_leaving = lambda worker: heard.append(("leaving", worker.id))
    plane.supervisor.on_gone = lambda worker: heard.append(("gone", worker.id))
    worker = await commanded(plane)
    plane.supervisor.stop(worker)
    assert plane.launcher.processes[0].frames[-1] == {"type": messages.DRAIN}
    await plane.until(lambda: len(heard) == 3)
    assert heard == [(word, worker.id) for word in ("connected", "leaving", "gone")]


@played
async def test_a_retired_worker_is_looked_at_when_something_has_ended(plane: SmallPlane) -> None:
    worker = await commanded(plane)
    plane.dispatcher.worker_ready(worker)
    plane.supervisor.look_at(worker)
    assert worker.state is WorkerState.READY  # nobody has retired it
    worker.requests = 1
    plane.supervisor.retire(worker)
    plane.supervisor.look_at(worker)
    assert (worker.state, plane.launcher.processes[0].code.done()) == (WorkerState.DRAINING, False)
    worker.requests = 0
    plane.supervisor.look_at(worker)
    await plane.until(lambda: plane.launcher.processes[0].code.done())


@played
async def test_a_worker_that_is_ended_now_is_no_crash(plane: SmallPlane) -> None:
    worker = await commanded(plane)
    plane.dispatcher.worker_ready(worker)
    plane.supervisor.end_now(worker, "it does not stop")
    await plane.until(lambda: worker.state is WorkerState.GONE)
    assert plane.launcher.processes[0].code.result() == -9
    assert (worker.pool.crashes.starts, worker.pool.crashes.ends) == (0, 0)
    await plane.until(lambda: len(plane.launcher.alive) == 1)  # another one takes its place
    assert plane.supervisor.worker(worker.id) is None
