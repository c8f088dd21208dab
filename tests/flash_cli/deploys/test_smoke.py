"""A first sign of life, asked of a target that a test scripts."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from flash_cli.deploys.smoke import Deployed, Smoked, smoke
from runpod_flash.backends.base import Backend, Json
from runpod_flash.calls import AS_USUAL, JobOptions
from runpod_flash.errors import BackendUnavailable
from runpod_flash.web import WebAnswer, WebRequest

QUEUE = Deployed("q", "queue", "", is_balanced=False, generation=1)
PAGES = Deployed("p", "pages", "", is_balanced=True, generation=3)
FAILED = {
    "id": "j",
    "status": "FAILED",
    "output": {
        "flash": {
            "error": {"protocol": 1, "kind": "load", "type": "ImportError", "message": "no x", "traceback": "at a.py"}
        }
    },
}


class Target:
    """Answers as it is told."""

    def __init__(self, job: Json | None = None, answer: WebAnswer | None = None, cause: str = "starting") -> None:
        self._job, self._answer, self._cause = job, answer, cause
        self.given: list[Json] = []
        self.requests: list[WebRequest] = []
        self.cancelled: list[str] = []

    async def describe(self, endpoint_id: str) -> Json:
        return {"id": endpoint_id}

    async def submit(self, endpoint_id: str, call_input: Json, key: str, options: JobOptions = AS_USUAL) -> str:
        self.given.append(call_input)
        return "j"

    async def outcome(self, endpoint_id: str, job_id: str) -> Json:
        if self._job is None:
            await asyncio.Event().wait()
        return cast(Json, self._job)

    async def cancel(self, endpoint_id: str, job_id: str) -> None:
        self.cancelled.append(job_id)

    async def facts(self, job_id: str) -> Json:
        return {"cause": {"kind": self._cause, "text": "it takes long"}}

    async def logs(self, endpoint_id: str, job_id: str) -> Sequence[str]:
        return ["the last line"]

    async def request(self, endpoint_id: str, asked: WebRequest) -> WebAnswer:
        self.requests.append(asked)
        if self._answer is None:
            raise BackendUnavailable("nobody is there")
        return self._answer

    def try_it(self, *endpoints: Deployed, timeout_s: float = 5.0) -> list[Smoked]:
        said: list[Smoked] = []
        found = asyncio.run(smoke(cast(Backend, self), endpoints, timeout_s, said.append))
        assert sorted(said, key=str) == sorted(found, key=str)
        return found


def test_a_worker_that_loads_the_code_is_a_sign_of_life() -> None:
    target = Target({"id": "j", "status": "COMPLETED", "output": {"flash": {"checked": True}}})
    assert [each.ok for each in target.try_it(QUEUE)] == [True]
    assert target.given == [{"flash": {"protocol": 1, "check": True}}]


def test_what_the_worker_says_is_told() -> None:
    (failed,) = Target(FAILED).try_it(QUEUE)
    assert not failed.ok
    assert "ImportError: no x" in failed.words
    assert "at a.py" in failed.words
    assert failed.words.endswith("the last line")


def test_who_waits_too_long_cancels_and_says_why_it_waited() -> None:
    target = Target()
    (failed,) = target.try_it(QUEUE, timeout_s=0.05)
    assert failed.words == "no worker had loaded the code within 0.05 s: it takes long"
    assert target.cancelled == ["j"]


def test_a_busy_machine_says_nothing_of_the_code() -> None:
    (untried,) = Target(cause="no_capacity").try_it(QUEUE, timeout_s=0.05)
    assert (untried.ok, untried.untried) == (True, "no worker was free within 0.05 s: it takes long")
    (off,) = Target().try_it(replace(QUEUE, most_workers=0))
    assert (off.ok, off.to_json()["ok"]) == (True, None)


def test_routes_are_asked_for_a_worker_of_the_new_version() -> None:
    target = Target(answer=WebAnswer(200, {}, b""))
    assert [each.ok for each in target.try_it(PAGES)] == [True]
    assert (target.requests[0].target, target.requests[0].headers) == ("/ping", {"X-Flash-Version": "3"})
    (failed,) = Target(answer=WebAnswer(502, {}, b"it crashed")).try_it(PAGES)
    assert failed.words == "GET /ping was answered with status 502: it crashed"
    (absent,) = Target().try_it(PAGES)
    assert absent.words == "nobody is there"


def test_what_cannot_be_tried() -> None:
    def of(endpoint: dict[str, Any], **workers: int) -> str:
        return Deployed.of({"id": "1", "name": "n", **endpoint}, {"workers": workers}).untested

    assert of({"type": "QUEUE", "artifact": "a"}, max=1) == ""
    assert "workers max is 0" in of({"type": "QUEUE", "artifact": "a"}, max=0)
    assert "not known" in of({"type": "QUEUE", "artifact": None})
    assert of({"type": "LOAD_BALANCER", "artifact": None}) == ""
