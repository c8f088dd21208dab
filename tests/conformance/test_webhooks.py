"""Webhooks: what is sent, how often, and that a bad receiver changes nothing."""

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conformance.endpoints import Deployments
from tests.conformance.target import Target
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TRIES = 3
TRIES_S = 60.0
"""How long all tries may take: somebody else's server pauses ten seconds or more between them."""


@dataclass(slots=True)
class Receiver:
    """A receiver of webhooks: answers by the path, `/200` with 200; keeps what it got; `/hang` waits for `release`."""

    url: str = ""
    got: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [body for got_path, _, body in self.got if got_path == path]


@pytest.fixture
def receiver(own: Target) -> Iterator[Receiver]:
    """A receiver on a free port of this machine."""
    found = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.got.append((self.path, dict(self.headers), body))
            if self.path.startswith("/hang"):
                found.release.wait(60)
            self.send_response(int(self.path.split("/")[2]) if self.path.startswith("/answer/") else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield found
    found.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_job_object_with_input_and_webhook(deployed: Deployments, receiver: Receiver) -> None:
    endpoint, url = deployed.endpoint("sync"), f"{receiver.url}/answer/200/run"
    storage = {"accessId": "id", "accessSecret": "hidden word", "bucketName": "b", "endpointUrl": "https://s.invalid"}
    job = endpoint.result({"prompt": "a"}, webhook=url, s3Config=storage)
    wait_until(lambda: receiver.got, TRIES_S, "the webhook")
    (_, headers, body) = receiver.got[0]
    assert body == {**job, "input": {"prompt": "a"}, "webhook": url}
    assert headers["Content-Type"].startswith("application/json")
    assert not {"webhook", "input"} & set(job)
    assert "hidden word" not in json.dumps(body)


def test_for_runsync_and_failures_and_cancels(deployed: Deployments, receiver: Receiver) -> None:
    failing, parked = deployed.endpoint("failing"), deployed.parked("webhooks")
    failing.post("runsync", json={"input": {"way": "error"}, "webhook": f"{receiver.url}/failed"})
    cancelled = parked.run({"prompt": "a"}, webhook=f"{receiver.url}/cancelled")
    parked.post(f"cancel/{cancelled}")
    wait_until(lambda: len(receiver.got) == 2, TRIES_S, "both webhooks")
    (failed,) = receiver.bodies("/failed")
    assert (failed["status"], failed["error"]) == ("FAILED", "prompt is too long")
    assert failed["id"].startswith("sync-")
    (body,) = receiver.bodies("/cancelled")
    assert (body["id"], body["status"]) == (cancelled, "CANCELLED")


@pytest.mark.parametrize("status", [500, 404])
def test_three_tries(deployed: Deployments, receiver: Receiver, status: int) -> None:
    endpoint, path = deployed.endpoint("sync"), f"/answer/{status}/x"
    job = endpoint.result({"prompt": "a"}, webhook=f"{receiver.url}{path}")
    wait_until(lambda: len(receiver.got) == TRIES, TRIES_S, "three tries")
    assert endpoint.status(job["id"]) == job
    assert [body["id"] for body in receiver.bodies(path)] == [job["id"]] * TRIES
    endpoint.result({"prompt": "b"}, webhook=f"{receiver.url}/last")
    wait_until(lambda: receiver.bodies("/last"), TRIES_S, "another webhook")
    assert len(receiver.bodies(path)) == TRIES


def test_one_that_hangs_holds_nothing_up(deployed: Deployments, receiver: Receiver) -> None:
    endpoint = deployed.endpoint("sync")
    hanging = endpoint.run({"prompt": "a"}, webhook=f"{receiver.url}/hang")
    wait_until(lambda: receiver.bodies("/hang"), TRIES_S, "the webhook that hangs")
    assert endpoint.status(hanging)["status"] == "COMPLETED"
    other = endpoint.result({"prompt": "b"}, webhook=f"{receiver.url}/other")
    assert other["status"] == "COMPLETED"
    wait_until(lambda: receiver.bodies("/other"), TRIES_S, "the other webhook")
