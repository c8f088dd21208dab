"""Endpoints with code of their own, made over HTTP from files and an interface written by hand."""

import hashlib
import platform
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.place import Place
from tests.support.plane_api import plane_client
from worker_runtime.wire import PROTOCOL, paths
from worker_runtime.wire.batch import Batch
from worker_runtime.wire.interface import FUNCTION, Interface, Parameter
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest

PYTHON = ".".join(platform.python_version_tuple()[:2])
CHECK = {"flash": {"protocol": PROTOCOL, "check": True}}


@dataclass(frozen=True, slots=True)
class Code:
    """An artifact: its id and its bytes."""

    id: str
    data: bytes


def parameter(name: str, kind: str = "", *, required: bool = True, place: str = "either") -> Parameter:
    """A parameter, of a JSON type or of any."""
    return Parameter(name, place, required, {"type": kind} if kind else {})


def code(
    entry: str,
    text: str,
    calls: Mapping[str, tuple[Parameter, ...]] | tuple[Parameter, ...],
    *,
    kind: str = "function",
    concurrency: int = 1,
    batch: Batch | None = None,
) -> Code:
    """The artifact of one file, `app.py`. `calls`: the parameters of a function, or of each method."""
    data = textwrap.dedent(text).encode()
    manifest = ArtifactManifest(
        kind=kind,
        name=entry,
        code=hashlib.sha256(data).hexdigest(),
        environment=EnvironmentRequest(PYTHON),
        entry=f"app:{entry}",
        files={"app.py": hashlib.sha256(data).hexdigest()},
        max_concurrency=concurrency,
        batch=batch,
        interface=Interface({FUNCTION: calls} if isinstance(calls, tuple) else calls),
    )
    return Code(manifest.id, paths.pack(manifest, None, {"app.py": data}))


@dataclass(frozen=True, slots=True)
class Deployed:
    """A client of a control plane, and short ways to endpoints with code of their own there."""

    client: httpx.Client

    def upload(self, shipped: Code) -> None:
        """Bring an artifact."""
        answer = self.client.put(f"/flash/v1/artifacts/{shipped.id}", content=shipped.data)
        assert answer.status_code == 201, answer.text

    def endpoint(self, name: str, shipped: Code, **changes: Any) -> str:
        """Make an endpoint; its id."""
        self.upload(shipped)
        body = {
            "name": name,
            "type": "QUEUE",
            "artifact": shipped.id,
            "cpu": [{"id": "cpu3c", "vcpuCount": 1}],
            "workers": {"min": 0, "max": 1, "idleTimeout": 60},
            "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0},
            **changes,
        }
        answer = self.client.post("/v2/serverless", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def switch(self, endpoint: str, shipped: Code, **changes: Any) -> None:
        """Give an endpoint another version."""
        self.upload(shipped)
        answer = self.client.patch(f"/v2/serverless/{endpoint}", json={"artifact": shipped.id, **changes})
        assert answer.status_code == 200, answer.text

    def runsync(self, endpoint: str, job_input: Any, **body: Any) -> dict[str, Any]:
        """Run a job to its end."""
        answer = self.client.post(f"/v2/{endpoint}/runsync", json={"input": job_input, **body}, timeout=100)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def run(self, endpoint: str, job_input: Any, **body: Any) -> str:
        """Submit a job; its id."""
        answer = self.client.post(f"/v2/{endpoint}/run", json={"input": job_input, **body})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def ended(self, endpoint: str, job: str) -> dict[str, Any]:
        """The job at its end."""
        answer = self.client.get(f"/v2/{endpoint}/status-sync/{job}", timeout=100)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def refused(self, endpoint: str, job_input: Any) -> tuple[int, str]:
        """The status and the words of a job that is not accepted."""
        answer = self.client.post(f"/v2/{endpoint}/run", json={"input": job_input})
        assert answer.status_code >= 400, answer.text
        return answer.status_code, str(answer.json()["detail"])


@contextmanager
def deployed(place: Place) -> Iterator[Deployed]:
    """The control plane of a place, started if it is not."""
    if not list(place.home.glob("planes/*/record.json")):
        place.serve()
    with plane_client(place) as client:
        yield Deployed(client)
