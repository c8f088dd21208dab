"""`flash call` with a real control plane and workers that speak Runpod's protocol."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from flash_cli.commands import call
from runpod_flash.calls import Ticket
from runpod_flash.errors import BackendUnavailable
from runpod_flash.job_input import plain_job
from tests.support.place import Place
from tests.support.plain_endpoints import plain_endpoint
from tests.support.plane_api import plane_client
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def queue(shared_place: Place) -> str:
    """The id of an endpoint that takes jobs."""
    return plain_endpoint(shared_place, "call-jobs")


@pytest.fixture(scope="module")
def routes(shared_place: Place) -> str:
    """The id of an endpoint that answers requests."""
    return plain_endpoint(shared_place, "call-http", balanced=True)


def test_plain_json_there_and_back(shared_place: Place, queue: str) -> None:
    given = '{"z": [1, "ä"], "a": null}'
    done = shared_place.flash("call", "call-jobs", "--json", given).good()
    assert done.stdout == '{\n  "echo": {\n    "z": [\n      1,\n      "ä"\n    ],\n    "a": null\n  }\n}\n'
    shared_place.write("input.json", '{"input": {"n": 1}, "policy": {"executionTimeout": 60000}}')
    for way in (("--file", "input.json"), ("-",)):
        text = (shared_place.project / "input.json").read_text()
        done = shared_place.run(["-m", "flash_cli", "call", queue, *way], stdin=text).good()
        assert json.loads(done.stdout) == {"echo": {"n": 1}}


def test_a_failure_has_the_remote_traceback_and_status_1(shared_place: Place, queue: str) -> None:
    failed = shared_place.flash("call", "call-jobs", "--json", '{"do": "fail"}')
    assert (failed.status, failed.stdout) == (1, "")
    assert "Remote traceback:\nline 1" in failed.stderr
    assert "error: ValueError: out of luck (job " in failed.stderr


def test_items_come_as_lines(shared_place: Place, queue: str) -> None:
    done = shared_place.flash("call", "call-jobs", "--json", '{"do": "yield", "count": 3}', "--stream").good()
    assert done.stdout.splitlines() == [f'{{"number": {number}}}' for number in range(3)]


@pytest.mark.slow
def test_who_detaches_gets_the_id_and_who_waits_too_short_is_told_how_to_come_back(
    shared_place: Place, queue: str, tmp_path: Path
) -> None:
    held = json.dumps({"until": str(tmp_path / "go")})
    job = shared_place.flash("call", "call-jobs", "--json", held, "--detach").good().stdout.strip()
    with plane_client(shared_place) as client:
        assert client.get(f"/v2/{queue}/status/{job}").json()["status"] in ("IN_QUEUE", "IN_PROGRESS")
    late = shared_place.flash("call", "call-jobs", "--json", held, "--timeout", "0.2")
    assert (late.status, late.stdout) == (1, "")
    assert "has not ended after 0.2 s and goes on; come back with `flash jobs attach" in late.stderr
    (tmp_path / "go").touch()
    with plane_client(shared_place) as client:
        wait_until(lambda: client.get(f"/v2/{queue}/status/{job}").json()["status"] == "COMPLETED", 20)


def test_ctrl_c_cancels(shared_place: Place, queue: str, tmp_path: Path) -> None:
    held = json.dumps({"until": str(tmp_path / "never"), "mark": "ctrl-c"})
    calling = shared_place.flash_running("call", "call-jobs", "--json", held)
    with plane_client(shared_place) as client, calling as process:
        running = f"/flash/v1/jobs?status=IN_PROGRESS&endpoint={queue}"
        wait_until(lambda: client.get(running).json()["jobs"], 30, "the job runs")
        (job,) = client.get(running).json()["jobs"]
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
        assert client.get(f"/v2/{queue}/status/{job['id']}").json()["status"] == "CANCELLED"
    assert process.returncode == 130
    assert f"job {job['id']} is cancelled" in stderr


class _SlowSession:
    """A session whose platform has a job at once and answers late, which no real one does on demand."""

    def __init__(self, answer: Ticket | Exception | None) -> None:
        self.answer, self.asked, self.answers = answer, asyncio.Event(), asyncio.Event()
        self.cancelled: list[Ticket] = []

    async def put(self, *_: Any) -> Ticket:
        self.asked.set()
        await self.answers.wait()
        if isinstance(self.answer, Ticket):
            return self.answer
        assert self.answer is not None
        raise self.answer

    async def cancel(self, ticket: Ticket) -> None:
        self.cancelled.append(ticket)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Ticket("j1", "e1", "f"), "job j1 is cancelled\n"),
        (BackendUnavailable("it is gone"), ""),
        (None, "the platform has not said whether it has the job; see `flash jobs list`\n"),
    ],
)
def test_ctrl_c_before_the_platform_has_answered_cancels_what_it_has(
    answer: Ticket | Exception | None, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> list[Ticket]:
        slow = _SlowSession(answer)
        session: Any = slow
        submitting = asyncio.create_task(call._submitted(session, call.Found("e1", "f"), plain_job({"n": 1})))
        await slow.asked.wait()
        submitting.cancel()
        if answer is None:
            monkeypatch.setattr(call, "CANCEL_S", 0.01)
        else:
            slow.answers.set()
        with pytest.raises(asyncio.CancelledError):
            await submitting
        return slow.cancelled

    assert asyncio.run(main()) == ([answer] if isinstance(answer, Ticket) else [])
    assert capsys.readouterr().err == said


@pytest.mark.slow
def test_requests(shared_place: Place, routes: str) -> None:
    done = shared_place.flash("call", "call-http", "POST", "/predict?a=1", "--json", '{"b": 2}').good()
    answer = json.loads(done.stdout)
    assert (answer["method"], answer["path"], answer["body"]) == ("POST", "/predict?a=1", '{"b":2}')
    text = shared_place.flash("call", "call-http", "--route", "GET /text?content=hello").good()
    assert text.stdout == "hello\n"
    refused = shared_place.flash("call", "call-http", "get", "/x?status=418&content=teapot")
    assert (refused.status, refused.stdout) == (1, "")
    assert "GET /x of endpoint call-http was answered with status 418: teapot" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("call-jobs", "--json", "{'a': 1}"), "--json is no JSON: Expecting property name enclosed in double quotes"),
        (("call-jobs", "--json", "[1]"), "the input for endpoint call-jobs"),
        (("call-jobs",), "is nothing; it must be a JSON object"),
        (("call-job", "--json", "{}"), "there is no endpoint 'call-job'; did you mean call-jobs?"),
        (("call-jobs", "GET", "/x"), "takes jobs and has no routes"),
        (("call-http",), "answers HTTP requests; say which"),
        (("call-http", "GET", "x"), "is no route; it must be a method and a path"),
        (("call-http", "GET", "/x", "--detach"), "--detach is for jobs"),
        (("call-jobs", "--env", "prod", "--json", "{}"), "environment prod has no endpoints"),
    ],
)
def test_what_is_wrong_is_told(
    shared_place: Place, queue: str, routes: str, arguments: tuple[str, ...], words: str
) -> None:
    refused = shared_place.flash("call", *arguments)
    assert (refused.status, refused.stdout) == (1, "")
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
