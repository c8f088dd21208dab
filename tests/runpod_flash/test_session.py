"""From a request to its outcome: connecting, agreeing, uploading, cancelling."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_flash import Endpoint, journal
from runpod_flash.backends.inline import InlineBackend, InlinePlatform, platform_of
from runpod_flash.blocking import Running
from runpod_flash.errors import ConfigError, NotPicklable
from runpod_flash.session import Session, current, use
from runpod_flash.settings import Settings
from tests.support.fake_platform import KEY, FakePlatform, serving
from tests.support.inline import inline_session
from tests.support.waiting import wait_until

CPU: Any = {"cpu": "cpu3c-2-4"}
STARTED = threading.Event()


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[Session]:
    STARTED.clear()
    with inline_session(tmp_path) as session:
        yield session


@pytest.fixture
def platform(session: Session) -> InlinePlatform:
    return platform_of(session.settings)


@Endpoint(**CPU)
def identity(x: Any) -> Any:
    return x


@Endpoint(**CPU)
async def forever() -> None:
    STARTED.set()
    await asyncio.sleep(3600)


# --- agreeing ---


def test_many_first_calls_share_one_endpoint_and_one_upload(platform: InlinePlatform) -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*(identity(i) for i in range(50)))

    assert asyncio.run(main()) == list(range(50))
    assert len(platform.endpoints) == 1
    assert len(platform.manifests) == 1


def test_threads_with_loops_of_their_own_agree(platform: InlinePlatform) -> None:
    def work(x: int) -> int:
        return asyncio.run(identity(x))

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        contexts = [contextvars.copy_context() for _ in range(20)]
        results = list(pool.map(lambda item: item[1].run(work, item[0]), enumerate(contexts)))
    assert results == list(range(20))
    assert len(platform.manifests) == 1


def test_provision_makes_what_the_first_call_then_finds(platform: InlinePlatform, session: Session) -> None:
    assert identity.id is identity.url is None
    found = identity.provision()
    assert identity.id == found.id == next(iter(platform.endpoints))
    assert platform.manifests == {}
    assert identity.remote(3) == 3
    assert asyncio.run(identity.provision.aio()) == found
    assert list(platform.endpoints) == [found.id]


def test_an_endpoint_that_nothing_is_on_is_provisioned_too(platform: InlinePlatform) -> None:
    alone = Endpoint("alone", workers=2, **CPU)
    assert alone.provision().id == alone.id
    assert [each.body["workers"]["max"] for each in platform.endpoints.values()] == [2]
    Endpoint("alone", workers=3, **CPU).provision()
    assert [each.body["workers"]["max"] for each in platform.endpoints.values()] == [3]
    with pytest.raises(ConfigError, match="give it a name"):
        Endpoint(**CPU).provision()


def test_provision_hears_of_two_declarations_and_bad_requirements(platform: InlinePlatform) -> None:
    @Endpoint("twice", workers=1, **CPU)
    def one() -> None: ...

    @Endpoint("twice", workers=2, **CPU)
    def two() -> None: ...

    one.provision()
    with pytest.raises(ConfigError, match="declared twice"):
        two.provision()
    with pytest.raises(ConfigError, match="no valid requirement"):
        Endpoint("wrong", dependencies=["numpy>=one.two.three"], **CPU).provision()


def test_an_endpoint_that_was_deleted_is_made_again(platform: InlinePlatform) -> None:
    assert identity.remote(1) == 1
    platform.endpoints.clear()
    assert identity.remote(2) == 2
    assert len(platform.endpoints) == 1


def test_an_artifact_that_was_lost_is_uploaded_again(platform: InlinePlatform) -> None:
    assert identity.remote(1) == 1
    platform.manifests.clear()
    assert identity.remote(2) == 2


def test_dependencies_are_checked_whole_at_the_first_call() -> None:
    @Endpoint(**CPU, dependencies=["numpy>=one.two"])
    def wrong() -> None: ...

    with pytest.raises(ConfigError, match=r"'wrong' holds 'numpy>=one\.two'"):
        wrong.remote()


# --- payloads ---


def test_large_arguments_and_results_are_values(platform: InlinePlatform) -> None:
    data = bytes(2_000_000)
    assert identity.remote(data) == data
    assert len(platform.values) == 2
    (job,) = platform.jobs.values()
    assert len(str(job.object)) < 1000


def test_what_cannot_travel_is_named_before_anything_is_made(platform: InlinePlatform) -> None:
    with pytest.raises(NotPicklable, match=r"'x' of identity\(\)"):
        identity.remote(threading.Lock())
    assert platform.endpoints == {}


# --- cancelling ---


def test_a_cancelled_await_cancels_the_job(platform: InlinePlatform) -> None:
    async def main() -> None:
        task = asyncio.create_task(forever())
        await asyncio.to_thread(STARTED.wait, 10)
        task.cancel()
        start = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - start < 10

    asyncio.run(main())
    assert [job.object["status"] for job in platform.jobs.values()] == ["CANCELLED"]


def test_a_timeout_cancels_the_job_too(platform: InlinePlatform) -> None:
    async def main() -> None:
        async with asyncio.timeout(0.3):
            await forever()

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert [job.object["status"] for job in platform.jobs.values()] in (["CANCELLED"], [])


def test_a_cancelled_submission_leaves_no_job_behind(platform: InlinePlatform) -> None:
    async def main() -> None:
        await identity(0)
        for turns in range(12):
            task = asyncio.create_task(forever())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    asyncio.run(main())
    wait_until(lambda: all(job.object["status"] in ("CANCELLED", "COMPLETED") for job in platform.jobs.values()))


INTERRUPTED = """
import asyncio, os, time
from runpod_flash import Endpoint
SETUP
@Endpoint(cpu="cpu3c-2-4")
def busy():
    print("running", flush=True)
    time.sleep(600)
try:
    busy.remote()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    os._exit(0)
"""


@contextlib.contextmanager
def interrupted_program(folder: Path, setup: str = "") -> Iterator["subprocess.Popen[str]"]:
    """A program that got SIGINT while its call ran."""
    (folder / "program.py").write_text(INTERRUPTED.replace("SETUP", setup))
    env = {"FLASH_TARGET": "inline", "FLASH_HOME": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}
    pipe = subprocess.PIPE
    command = [sys.executable, "program.py"]
    with subprocess.Popen(command, cwd=folder, env=env, stdout=pipe, stderr=pipe, text=True) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "running\n"
            program.send_signal(signal.SIGINT)
            yield program
        finally:
            program.kill()


def test_the_first_ctrl_c_cancels(tmp_path: Path) -> None:
    with interrupted_program(tmp_path, PATIENT) as program:
        stdout, stderr = program.communicate(timeout=20)
    assert (stdout, stderr) == ("interrupted\n", "")


PATIENT = """
from runpod_flash import session
session._DETACH_S = 60.0
"""

DETACHED = (
    r"detached from job (\S+)-inline of endpoint '{0}', which may still run; "
    r"come back with `flash jobs attach \1-inline` or {0}\.job\('\1-inline'\)\.result\(\)"
)

SLOW_CANCEL = """
from runpod_flash.backends.inline import InlineBackend
async def cancel(self, endpoint_id, job_id):
    print("cancelling", flush=True)
    await asyncio.sleep(60)
InlineBackend.cancel = cancel
"""


def test_a_second_ctrl_c_detaches_and_says_how_to_come_back(tmp_path: Path) -> None:
    with interrupted_program(tmp_path, PATIENT + SLOW_CANCEL) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "cancelling\n"
        program.send_signal(signal.SIGINT)
        stdout, stderr = program.communicate(timeout=20)
    assert stdout == "interrupted\n"
    assert re.search(DETACHED.format("busy"), stderr)


def test_a_cancellation_that_nobody_answers_is_given_up(tmp_path: Path) -> None:
    with interrupted_program(tmp_path, SLOW_CANCEL) as program:
        start = time.monotonic()
        stdout, _ = program.communicate(timeout=20)
        assert time.monotonic() - start > 1.5, "it was waited for; the cancellation itself would take a minute"
    assert stdout.endswith("interrupted\n")


@pytest.mark.parametrize("where", ["before the cancellation", "after the cancellation", "while it is waited for"])
def test_a_second_ctrl_c_is_heard_wherever_it_comes(
    where: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    waits, cancelling = threading.Event(), threading.Event()
    outcome, result, cancel, wait = InlineBackend.outcome, Running.result, Running.cancel, Running.wait

    async def outcome_and_say(self: InlineBackend, *args: str) -> Any:
        waits.set()
        return await outcome(self, *args)

    async def unanswered(self: InlineBackend, *args: str) -> None:
        cancelling.set()
        await asyncio.sleep(3600)

    def first(self: Running[Any], timeout: float | None = None) -> Any:
        waits.wait(10)
        signal.raise_signal(signal.SIGINT)
        return result(self, timeout)

    def second(self: Running[Any]) -> None:
        if where == "after the cancellation":
            cancel(self)
        signal.raise_signal(signal.SIGINT)

    def second_later(self: Running[Any], timeout: float) -> bool:
        cancelling.wait(10)
        signal.raise_signal(signal.SIGINT)
        return wait(self, timeout)

    monkeypatch.setattr(InlineBackend, "outcome", outcome_and_say)
    monkeypatch.setattr(InlineBackend, "cancel", unanswered)
    monkeypatch.setattr(Running, "result", first)
    if where == "while it is waited for":
        monkeypatch.setattr(Running, "wait", second_later)
    else:
        monkeypatch.setattr(Running, "cancel", second)
    with pytest.raises(KeyboardInterrupt):
        forever.remote()
    assert re.search(DETACHED.format("forever"), capfd.readouterr().err)


def test_a_ctrl_c_before_the_call_has_begun_makes_no_job(
    platform: InlinePlatform, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Running, "start", lambda running: signal.raise_signal(signal.SIGINT))
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        forever.remote()
    assert time.monotonic() - start < 10
    assert platform.jobs == {}
    assert capfd.readouterr().err == ""


# --- submissions are noted ---


@pytest.fixture
def remote_platform() -> FakePlatform:
    return FakePlatform()


@pytest.fixture
def remote(remote_platform: FakePlatform, tmp_path: Path) -> Iterator[Session]:
    """A session with a platform that is reached by its URL."""
    with serving(remote_platform) as url:
        settings = Settings(target=url, api_key=KEY, home=tmp_path / "home")
        with use(Session(settings, tmp_path / "project")) as session:
            yield session


def test_a_submission_is_noted_before_it_leaves(remote: Session, remote_platform: FakePlatform) -> None:
    seen: list[tuple[str, list[journal.Submission]]] = []

    def look(request: Any) -> None:
        if request.url.path.endswith("/run"):
            seen.append((request.headers["idempotency-key"], journal.read(remote.settings.home)))

    remote_platform.refuse = look
    job = identity.spawn(1)
    ((key, noted),) = seen
    (before,) = noted
    target, project = remote.settings.target, str(remote.project)
    assert before == journal.Submission(key, before.time, target, project, "identity", "ep0", "identity")
    (after,) = journal.read(remote.settings.home)
    assert (after.key, after.job_id) == (key, job.id)


def test_what_has_arrived_is_recovered_acknowledged_or_not(remote: Session, remote_platform: FakePlatform) -> None:
    assert identity.recover() == []
    assert remote_platform.requests == {}, "where nothing is noted, nobody is asked"
    jobs = [identity.spawn(number).id for number in range(3)]
    home, target, project = remote.settings.home, remote.settings.target, str(remote.project)
    cut_off = journal.Journal(home, target, project, print)
    for key in ("arrived", "never-arrived"):
        cut_off.submitting(key, "identity", "ep0", "identity")
    for others in ((target, "/elsewhere"), ("http://elsewhere", project)):
        journal.Journal(home, *others, print).submitting("theirs", "identity", "ep0", "identity")
    cut_off.submitting("other", "other", "ep1", "other")
    cut_off.acknowledged("gone", "gone")
    for key in ("arrived", "theirs", "other"):
        remote_platform.by_key[key] = f"job-{key}"
        remote_platform.jobs[f"job-{key}"] = {"id": f"job-{key}", "status": "IN_QUEUE"}
    found = identity.recover()
    assert [job.id for job in found] == [*jobs, "job-arrived"]
    remote_platform.finish("job-arrived", "late")
    assert found[-1].result() == "late"

    async def main() -> list[str]:
        return [job.id for job in await Endpoint("identity").recover()]

    assert asyncio.run(main()) == [*jobs, "job-arrived"]
    assert [job.id for job in Endpoint("other").recover.blocking()] == ["job-other"]


def test_where_jobs_have_no_keys_the_acknowledged_ones_are_recovered(
    remote: Session, remote_platform: FakePlatform
) -> None:
    remote_platform.modern = False
    notes = journal.Journal(remote.settings.home, remote.settings.target, str(remote.project), print)
    for key in ("one", "two"):
        notes.submitting(key, "identity", "ep0", "identity")
    notes.acknowledged("two", "job-two")
    assert [job.id for job in identity.recover()] == ["job-two"]


def test_many_handles_of_one_endpoint_look_it_up_together(remote: Session, remote_platform: FakePlatform) -> None:
    jobs = [identity.spawn(number).id for number in range(50)]
    before = remote_platform.requests["GET serverless"]

    async def main() -> None:
        await asyncio.gather(*(identity.job(job).wait() for job in jobs), return_exceptions=True)

    asyncio.run(main())
    assert remote_platform.requests["GET serverless"] == before + 1
    assert remote_platform.requests["POST watch"] == 1


def test_a_journal_that_cannot_be_written_fails_no_call(
    remote_platform: FakePlatform, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with serving(remote_platform) as url:
        settings = Settings(target=url, api_key=KEY, home=tmp_path / "file" / "home")
        with use(Session(settings, tmp_path)):
            for _ in range(3):
                identity.spawn(1)
    assert capfd.readouterr().err.count("submitted.jsonl cannot be written") == 1


def test_workers_and_inline_programs_note_nothing(session: Session, tmp_path: Path) -> None:
    identity.remote(1)
    assert identity.recover() == []
    assert not journal.path_of(session.settings.home).exists()
    assert Session(Settings(in_worker=True, home=tmp_path), tmp_path).journal is None
    assert Session(Settings(home=tmp_path), tmp_path).journal is not None


# --- the session itself ---


def test_a_default_session_is_made_without_effect() -> None:
    program = (
        "import os, threading; from runpod_flash import session; s = session.current(); "
        "assert s._given is None and threading.active_count() == 1; print(sorted(os.listdir('.')))"
    )
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-B", "-c", program], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_sessions_are_of_a_context(tmp_path: Path) -> None:
    outer = current()
    with use(Session(Settings(target="inline", home=tmp_path), tmp_path)) as inner:
        assert current() is inner
        assert identity.remote(3) == 3
    assert current() is outer
    assert not inner._bridge.alive


def test_a_runpod_key_without_a_target_is_mentioned_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = Settings(target="inline", target_chosen=False, runpod_api_key="k", home=tmp_path)
    with use(Session(settings, tmp_path)):
        identity.remote(1)
        asyncio.run(identity(2))
    said = capfd.readouterr().err
    assert said.count("RUNPOD_API_KEY is set") == 1


def test_settings_that_are_wrong_are_told_by_the_first_call(tmp_path: Path) -> None:
    program = (
        "from runpod_flash import Endpoint\n@Endpoint(cpu='cpu3c-1-2')\ndef f(): pass\nprint('declared')\n"
        "try: f.remote()\nexcept ValueError as error: print(error)"
    )
    env = {"PYTHONPATH": str(Path(__file__).parents[2]), "FLASH_TARGET": "mars"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[0] == "declared"
    assert "FLASH_TARGET is 'mars'" in done.stdout
