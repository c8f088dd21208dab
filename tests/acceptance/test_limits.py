"""How long a job may wait and live, as the HTTP API lets one say it."""

from typing import Any

import httpx
import pytest

from tests.support.place import Place
from tests.support.plane_api import last_input, plane_client
from tests.support.waiting import wait_until

SCRIPT = """
import sys, time
from runpod_flash import Endpoint
@Endpoint(name="limited", cpu="cpu3c-1-2", workers=1)
def f(seconds): time.sleep(seconds)
if __name__ == "__main__":
    job = f.spawn(float(sys.argv[1]))
    print(job.id)
    if len(sys.argv) == 2: job.result()
"""


@pytest.mark.slow
def test_jobs_that_wait_or_live_too_long_end_and_their_place_is_free_again(place: Place) -> None:
    place.run_script(SCRIPT, arguments=["1.5"]).good()
    body = {"input": last_input(place)}
    with plane_client(place) as client:
        (endpoint,) = client.get("/v2/serverless").json()["endpoints"]
        url = f"/v2/{endpoint['id']}"

        def submit(**policy: int) -> str:
            answer = client.post(f"{url}/run", json={**body, "policy": policy})
            return str(answer.raise_for_status().json()["id"])

        holder = place.run_script(SCRIPT, arguments=["60", "leave it"]).good().stdout.strip()
        wait_until(lambda: client.get(f"{url}/health").json()["jobs"]["inProgress"], 20, "the one worker is busy")
        impatient, patient = submit(queueTimeout=300), submit()
        assert ended(client, url, impatient)["status"] == "TIMED_OUT"
        assert "queue timeout of 0.3 s" in ended(client, url, impatient)["error"]
        assert client.get(f"{url}/status/{patient}").json()["status"] == "IN_QUEUE"
        client.post(f"{url}/cancel/{holder}").raise_for_status()
        assert ended(client, url, patient)["status"] == "COMPLETED"
        assert ended(client, url, submit(executionTimeout=300))["status"] == "TIMED_OUT"
        assert ended(client, url, submit(executionTimeout=30_000))["status"] == "COMPLETED"


def ended(client: httpx.Client, url: str, job: str) -> dict[str, Any]:
    """The job, once it is final."""

    def final() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(f"{url}/status/{job}").json()
        return found if found["status"] not in ("IN_QUEUE", "IN_PROGRESS") else None

    found = wait_until(final, 20, f"job {job} has ended")
    assert found is not None
    return found
