"""The served OpenAPI document is true: whatever it allows is asked, and nothing is answered that it does not name."""

import contextlib
import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.schemathesis.idle_plane import running
from tests.schemathesis.narrowing import narrowed
from tests.schemathesis.small_worker import working
from tests.support.place import Place
from tests.support.plane_api import plane_client
from tests.support.waiting import wait_until

LEAST_REQUESTS = 2_000
A_DAY_MS = 24 * 3600 * 1000
UNKNOWN_ENDPOINT = "nosuchendpoint"

SETTINGS = """
continue-on-failure = true
warnings = false

[generation]
deterministic = true
max-examples = 40

# What a schema cannot say: which fields go together, that bytes have the hash that was announced, the state of a job
[[operations]]
include-operation-id = ["createEndpoint", "updateEndpoint", "putArtifact", "putValue", "retryJob", "createKey",
    "approveLogin", "createNetworkVolume", "putVolumeFile", "makeVolumeFolder", "getVolumeFile", "listVolumeFiles",
    "deleteVolumeFile", "updateNetworkVolume", "createApp", "createStage", "deploy", "rollback"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "422"]

# Apps that it makes itself are there under names that it was not told
[[operations]]
include-operation-id = ["createStage", "deleteApp"]
checks.negative_data_rejection.enabled = false

# Workers would take any method, and there are none
[[operations]]
include-tag = ["Balanced"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404"]
checks.unsupported_method.enabled = false

# A few are remembered of each address
[[operations]]
include-operation-id = ["askForLogin"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "429"]

# Its last part is taken for the code of a login
[[operations]]
include-operation-id = ["claimLogin"]
checks.unsupported_method.enabled = false

# It writes no frames; tests/runpod_flash/control_plane/api/test_calls_api.py does
[[operations]]
include-operation-id = ["submitCalls"]
enabled = false

# Their last part is taken for the id of a job, so GET finds none: 404 instead of 405
[[operations]]
include-operation-id = ["findJobs", "watchJobs"]
checks.unsupported_method.enabled = false
"""
METHODS = ("get", "post", "put", "patch", "delete", "options")
NEVER_ACCEPTED = {
    *("PUT /flash/v1/artifacts/{id}", "PUT /flash/v1/values/{id}", "HEAD /flash/v1/artifacts/{id}"),
    *(f"{method.upper()} /lb/{{endpoint}}/{{path}}" for method in METHODS),
}
"""Nobody guesses bytes that have the hash in the path, and no worker answers HTTP here; other tests do both."""

NOT_TRIED = "POST /flash/v1/calls"
"""It takes frames, see the settings."""

ONE_WORKER = {"min": 1, "max": 1, "idleTimeout": 3600}

UNKNOWN_VOLUME = "0000000000"
VOLUME_OPERATIONS = (
    "getNetworkVolume", "updateNetworkVolume", "getVolumeUse", "listVolumeFiles", "getVolumeFile", "putVolumeFile",
    "deleteVolumeFile", "makeVolumeFolder",
)  # fmt: skip

MANAGING = ("createEndpoint", "updateEndpoint", "deleteEndpoint")
"""Operations that would take away what the others are asked about."""

QUEUE = {
    "type": "QUEUE",
    "command": "true",
    "cpu": [{"id": "cpu3c", "vcpuCount": 1}],
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
}


@dataclass(frozen=True)
class Report:
    """What schemathesis found. `accepted`: how many requests of each operation (GET /docs) had a good answer."""

    text: str
    facts: Mapping[str, Any]

    @property
    def accepted(self) -> Counter[str]:
        rates = self.facts["valid_rates"].items()
        return Counter({name: sum(phase["accepted"] for phase in phases.values()) for name, phases in rates})


def asked(folder: Path, client: httpx.Client, document: Mapping[str, Any], *options: str, key: str = "") -> Report:
    """Run schemathesis over the document with this key, or the client's; fails where an answer is not as documented."""
    folder.mkdir()
    (folder / "document.json").write_text(json.dumps(document))
    (folder / "schemathesis.toml").write_text(SETTINGS)
    command = [
        sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
        "--config-file", "schemathesis.toml", "run", "document.json", "--url", str(client.base_url),
        "--header", f"Authorization:{key or client.headers['Authorization']}",
        "--report", "json", "--report-json-path", "report.json", *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    return Report(done.stdout, json.loads((folder / "report.json").read_text()))


def made(client: httpx.Client, served: str) -> dict[str, Sequence[str]]:
    """Make what requests can be about; returns ids by path parameter, each with one that does not exist.

    `served` is an endpoint whose jobs are answered.
    """
    endpoint = created(client, "fuzzed")
    jobs = [submitted(client, endpoint) for _ in range(2)]
    client.post(f"/v2/{endpoint}/cancel/{jobs[0]}").raise_for_status()
    timed_out = submitted(client, endpoint, queueTimeout=1)
    status = f"/v2/{endpoint}/status/{timed_out}"
    wait_until(lambda: client.get(status).json()["status"] == "TIMED_OUT", 20, "a job times out")
    value = b"some bytes"
    sha256 = hashlib.sha256(value).hexdigest()
    client.put(f"/flash/v1/values/{sha256}", content=value).raise_for_status()
    some = (endpoint, UNKNOWN_ENDPOINT)
    scaling = {"type": "REQUEST_COUNT", "requestCount": 1}
    balanced = created(client, "balanced", type="LOAD_BALANCER", scaling=scaling)
    let_in, kept_out, waiting = (client.post("/flash/v1/logins", json={"label": "x"}).json() for _ in range(3))
    return {
        **volumes(client),
        **apps(client),
        "approveLogin.code": (let_in["code"], "no-such-code"),
        "denyLogin.code": (kept_out["code"], "no-such-code"),
        "LoginSecret.secret": (waiting["secret"], "no-such-secret"),
        "endpoint": some,
        **{f"{operation}.endpoint": (served, UNKNOWN_ENDPOINT) for operation in ("getOpenAI", "postOpenAI")},
        **{f"{operation}.id": some for operation in ("getEndpoint", "updateEndpoint", "listWorkers")},
        **{f"{method}Balanced.endpoint": (balanced, UNKNOWN_ENDPOINT) for method in METHODS},
        "job": (*jobs, timed_out, "no-such-job"),
        "retryJob.job": (timed_out, jobs[0]),
        "getValue.id": (sha256, "0" * 64),
        "file": ("start.js", "swagger-ui.css", "favicon-32x32.png"),
    }


def volumes(client: httpx.Client) -> dict[str, Sequence[str]]:
    """Make network volumes: one that stays, with files, and one that may be deleted; ids and paths by parameter."""
    wanted = {"size": 10, "dataCenter": "EU-RO-1"}
    kept, doomed = (
        str(client.post("/v2/network-volumes", json={**wanted, "name": name}).json()["id"]) for name in ("a", "b")
    )
    for name in ("kept", "doomed"):
        client.put(f"/flash/v1/volumes/{kept}/file?path={name}", content=b"x").raise_for_status()
    return {
        **{f"{name}.id": (kept, UNKNOWN_VOLUME) for name in VOLUME_OPERATIONS},
        "deleteNetworkVolume.id": (doomed, UNKNOWN_VOLUME),
        "getVolumeFile.path": ("kept", "nothing", "../up"),
        "deleteVolumeFile.path": ("doomed", "nothing", "/"),
    }


def apps(client: httpx.Client) -> dict[str, Sequence[str]]:
    """Make apps: one that stays, with an endpoint that stays, and what may be deleted; names and a job by parameter."""
    for app, stages in (("shop", ("production", "doomed")), ("doomed", ("production",))):
        for stage in stages:
            client.post(f"/flash/v1/apps/{app}/stages", json={"name": stage}).raise_for_status()
    manifest = {"endpoints": [{"name": name, "body": QUEUE} for name in ("pages", "spare")]}
    where = "/flash/v1/apps/shop/stages/production/deploy"
    client.post(where, json={"manifest": manifest, "base": 0}).raise_for_status()
    names = {"X-Flash-App": "shop", "X-Flash-Environment": "production", "X-Flash-Endpoint": "pages"}
    by_name = ("run", "runSync", "getJob", "postGetJob", "cancelJob")
    job = client.post("/v2/flash/run", json={"input": {"n": 1}}, headers=names).raise_for_status().json()["id"]
    return {
        "app": ("shop", "no-app"),
        "stage": ("production", "no-stage"),
        "deleteApp.app": ("doomed", "no-app"),
        "deleteStage.stage": ("doomed", "no-stage"),
        "deleteStageEndpoint.endpoint": ("spare", "nothing"),
        **{f"{each}ByName.job": (job, "no-such-job") for each in by_name[2:]},
        **{f"{each}ByName.{header}": (name, "nothing") for each in by_name for header, name in names.items()},
    }


def routes(document: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Method and path of each operation."""
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


def created(client: httpx.Client, name: str, **changes: Any) -> str:
    """Make an endpoint whose workers run a command; returns its id."""
    answer = client.post("/v2/serverless", json={**QUEUE, "name": name, **changes})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def submitted(client: httpx.Client, endpoint: str, **policy: int) -> str:
    """Submit a job; returns its id."""
    answer = client.post(f"/v2/{endpoint}/run", json={"input": {"n": 1}, "policy": {"ttl": A_DAY_MS, **policy}})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def started(folder: Path, endpoint: str) -> Mapping[str, str]:
    """The launch of a worker of the endpoint, which would have been started."""
    listed = folder / "workers"

    def found() -> list[dict[str, str]]:
        lines = listed.read_text().splitlines() if listed.exists() else []
        return [launch for launch in map(json.loads, lines) if launch["endpoint"] == endpoint]

    wait_until(found, 20, "a worker is started")
    return found()[0]


@contextlib.contextmanager
def served_queue(client: httpx.Client, folder: Path) -> Iterator[tuple[str, str, str]]:
    """An endpoint whose jobs are answered at once; its id, and id and key of its worker."""
    endpoint = created(client, "served", workers=ONE_WORKER)
    submitted(client, endpoint)
    launch = started(folder, endpoint)
    with working(str(client.base_url), endpoint, launch["worker"], launch["RUNPOD_AI_API_KEY"]):
        yield endpoint, launch["worker"], launch["RUNPOD_AI_API_KEY"]


def as_reader(client: httpx.Client, folder: Path, served: Mapping[str, Any]) -> Report:
    """Ask with the key of another user, which may only look, about an endpoint of that user."""
    keys = {
        scope: client.post("/flash/v1/keys", json={"user": "ada", "scope": scope}).json()["key"]
        for scope in ("full", "read-only")
    }
    body = {**QUEUE, "name": "hers"}
    hers = client.post("/v2/serverless", json=body, headers={"Authorization": keys["full"]}).json()["id"]
    document = narrowed(served, {"endpoint": (hers, UNKNOWN_ENDPOINT)})
    options = ("--phases=coverage", "--exclude-checks=positive_data_acceptance")
    return asked(folder / "reader", client, document, *options, key=keys["read-only"])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_answered_that_the_document_does_not_name(tmp_path: Path) -> None:
    place = Place.below(tmp_path / "place")
    with running(place, tmp_path), plane_client(place) as client:
        served = client.get("/openapi.json").json()
        with served_queue(client, tmp_path) as (endpoint, worker, key):
            document = narrowed(served, made(client, endpoint))
            others = [f"--exclude-operation-id={name}" for name in MANAGING]
            reports = [asked(tmp_path / "jobs", client, document, *others)]
        theirs = narrowed(served, {"endpoint": (endpoint,), "worker": (worker,)})
        reports.append(asked(tmp_path / "worker", client, theirs, "--include-tag=Workers", key=key))
        as_reader(client, tmp_path, served)
        reports.append(asked(tmp_path / "endpoints", client, document, "--include-tag=Endpoints"))
    assert "Traceback" not in (place.project / "plane.log").read_text()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert routes(served) == {(method, path) for method, path in summary["routes"]}
    assert [status for status in summary["answers"] if int(status) >= 500] == []
    assert sum(summary["answers"].values()) >= LEAST_REQUESTS
    accepted = Counter[str]()
    for report in reports:
        accepted.update(report.accepted)
    assert {*accepted, NOT_TRIED} == {f"{method} {path}" for method, path in routes(served)}
    assert {name for name, count in accepted.items() if not count} == NEVER_ACCEPTED
