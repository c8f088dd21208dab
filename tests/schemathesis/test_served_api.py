"""The served OpenAPI document is true: whatever it allows is asked, and nothing is answered that it does not name."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.schemathesis.idle_plane import running
from tests.schemathesis.narrowing import narrowed, operations
from tests.support.place import Place
from tests.support.plane_api import plane_client

LEAST_REQUESTS = 2_000
UNKNOWN_ENDPOINT = "nosuchendpoint"

SETTINGS = """
continue-on-failure = true
warnings = false

[generation]
deterministic = true
max-examples = {examples}

# What a schema cannot say: which fields go together, that bytes have the hash that was announced
[[operations]]
include-operation-id = ["createEndpoint", "updateEndpoint", "putArtifact", "putValue"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "422"]
"""

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
    def accepted(self) -> dict[str, int]:
        return {
            name: sum(phase["accepted"] for phase in phases.values())
            for name, phases in self.facts["valid_rates"].items()
        }


def asked(folder: Path, client: httpx.Client, document: Mapping[str, Any], *options: str, examples: int) -> Report:
    """Run schemathesis over the document with the client's key; fails where an answer is not as documented."""
    folder.mkdir()
    (folder / "document.json").write_text(json.dumps(document))
    (folder / "schemathesis.toml").write_text(SETTINGS.format(examples=examples))
    command = [
        sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
        "--config-file", "schemathesis.toml", "run", "document.json", "--url", str(client.base_url),
        "--header", f"Authorization:{client.headers['Authorization']}",
        "--report", "json", "--report-json-path", "report.json", *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    return Report(done.stdout, json.loads((folder / "report.json").read_text()))


def made(client: httpx.Client) -> dict[str, Sequence[str]]:
    """Make what requests can be about; returns ids by path parameter, each with one that does not exist."""
    answer = client.post("/v2/serverless", json={**QUEUE, "name": "fuzzed"})
    assert answer.status_code == 201, answer.text
    endpoint = answer.json()["id"]
    jobs = [client.post(f"/v2/{endpoint}/run", json={"input": {"n": n}}).json()["id"] for n in range(3)]
    client.post(f"/v2/{endpoint}/cancel/{jobs[0]}").raise_for_status()
    value = b"some bytes"
    sha256 = hashlib.sha256(value).hexdigest()
    client.put(f"/flash/v1/values/{sha256}", content=value).raise_for_status()
    some = (endpoint, UNKNOWN_ENDPOINT)
    return {
        "endpoint": some,
        **{f"{operation}.id": some for operation in ("getEndpoint", "updateEndpoint", "listWorkers")},
        "job": (*jobs, "no-such-job"),
        "getValue.id": (sha256, "0" * 64),
        "file": ("start.js", "swagger-ui.css", "favicon-32x32.png"),
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_answered_that_the_document_does_not_name(tmp_path: Path) -> None:
    place, counts = Place.below(tmp_path / "place"), tmp_path / "counts.json"
    with running(place, counts), plane_client(place) as client:
        served = client.get("/openapi.json").json()
        report = asked(tmp_path / "owner", client, narrowed(served, made(client)), examples=60)
    answers = {int(status): count for status, count in json.loads(counts.read_text()).items()}
    assert sum(answers.values()) >= LEAST_REQUESTS
    assert [status for status in answers if status >= 500] == []
    assert report.facts["operations"]["tested"] == len(list(operations(served)))
    assert [name for name, count in report.accepted.items() if not count] == []
