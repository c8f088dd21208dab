"""Endpoints that run the handlers of this folder, and the job API of one of them."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.target import Target
from tests.support.waiting import wait_until

HANDLERS = Path(__file__).parent / "handlers"
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
START_S = 90.0
"""How long a job may wait for its worker: a busy machine takes its time to import the real package."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint by its published API."""

    id: str
    http: httpx.Client

    def get(self, path: str, **how: Any) -> httpx.Response:
        return self.http.get(f"/v2/{self.id}/{path}", **how)

    def post(self, path: str, **how: Any) -> httpx.Response:
        return self.http.post(f"/v2/{self.id}/{path}", **how)

    def run(self, job_input: Json, **more: Any) -> str:
        """Submit; the id of the job. `more` are other fields of the body."""
        answer = good(self.post("run", json={"input": job_input, **more}))
        assert answer["status"] in ("IN_QUEUE", "IN_PROGRESS")
        return str(answer["id"])

    def result(self, job_input: Json, **more: Any) -> Json:
        """Submit and wait for the end; the job object."""
        return self.ended(self.run(job_input, **more))

    def status(self, job: str) -> Json:
        return good(self.get(f"status/{job}"))

    def ended(self, job: str, deadline_s: float = START_S) -> Json:
        """The job object once the job has ended."""
        return self.when(job, lambda seen: seen["status"] in FINAL, deadline_s)

    def begun(self, job: str) -> Json:
        """The job object once a worker has the job."""
        seen = self.when(job, lambda seen: seen["status"] != "IN_QUEUE")
        assert seen["status"] == "IN_PROGRESS", seen
        return seen

    def when(self, job: str, holds: Callable[[Json], bool], deadline_s: float = START_S) -> Json:
        """The job object as soon as `holds` is true of it."""
        seen: list[Json] = []

        def fulfilled() -> bool:
            seen[:] = [self.status(job)]
            return holds(seen[0])

        wait_until(fulfilled, deadline_s, f"job {job}")
        return seen[0]

    def chunks(self, job: str) -> list[Any]:
        """All that a job streams, to its end."""
        found: list[Any] = []

        def drained() -> bool:
            answer = good(self.get(f"stream/{job}"))
            found.extend(item["output"] for item in answer["stream"])
            return answer["status"] in FINAL and not answer["stream"]

        wait_until(drained, START_S, f"stream of {job}")
        return found

    def health(self) -> Json:
        return good(self.get("health"))

    def workers(self) -> list[Json]:
        """The workers as the management API shows them."""
        return list(good(self.http.get(f"/v2/serverless/{self.id}/workers"))["workers"])

    def set(self, **changes: Any) -> None:
        good(self.http.patch(f"/v2/serverless/{self.id}", json=changes))

    def delete(self) -> None:
        answer = self.http.delete(f"/v2/serverless/{self.id}")
        assert answer.status_code == 204, answer.text


@dataclass(slots=True)
class Deployments:
    """Creates the endpoints that tests ask for, each once, and deletes them at the end."""

    target: Target
    http: httpx.Client
    path: str
    """The PATH of the workers, on which `python` has the real package."""
    made: dict[str, Endpoint] = field(default_factory=dict)

    def endpoint(self, handler: str, label: str = "", **settings: Any) -> Endpoint:
        """The endpoint that runs `handlers/<handler>.py`; one more of them for each `label`.

        `settings` are fields of its body; without them: at most one worker, idle for 20 seconds.
        """
        name = f"{handler}-{label}" if label else handler
        if name not in self.made:
            self.made[name] = Endpoint(self._id(handler, name, settings), self.http)
        return self.made[name]

    def parked(self, label: str) -> Endpoint:
        """An endpoint without workers: its jobs stay in the queue."""
        return self.endpoint("sync", f"parked-{label}", workers={"min": 0, "max": 0})

    def close(self) -> None:
        """Delete what was made here."""
        for endpoint in self.made.values():
            self.http.delete(f"/v2/serverless/{endpoint.id}")

    def _id(self, handler: str, name: str, settings: Mapping[str, Any]) -> str:
        if self.target.endpoints:
            if name not in self.target.endpoints:
                pytest.skip(f"FLASH_CONFORMANCE_ENDPOINTS has no endpoint {name!r}")
            return self.target.endpoints[name]
        body = {**self._body(handler, name), **settings}
        body["env"] = {"PATH": self.path, **settings.get("env", {})}
        answer = self.http.post("/v2/serverless", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def _body(self, handler: str, name: str) -> Json:
        return {
            "name": f"conformance-{name}-{secrets.token_hex(3)}",
            "type": "QUEUE",
            "command": f"python {handler}.py",
            "directory": str(HANDLERS),
            "cpu": [{"id": "cpu3c", "vcpuCount": 1}],
            "workers": {"min": 0, "max": 1, "idleTimeout": 20},
            "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.5},
        }


def good(answer: httpx.Response) -> Json:
    """The object of a 200."""
    assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
    body = answer.json()
    assert isinstance(body, dict)
    return body


def refused(answer: httpx.Response, *allowed: int) -> Json:
    """The problem of a refusal with one of these statuses: title, status and detail, and nothing of our insides."""
    assert answer.status_code in allowed, f"{answer.status_code} {answer.text}"
    problem = answer.json()
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert problem["status"] == answer.status_code
    assert problem["title"]
    assert problem["detail"]
    assert "Traceback" not in answer.text
    return dict(problem)
