"""A handler for the job-take protocol and an HTTP server, by the standard library alone: quick commands for workers.

    python plain_worker.py jobs      takes jobs, several at a time; `input["do"]` says what to do
    python plain_worker.py http      a load-balanced worker on PORT

What is held waits for a file, `input["until"]` or `?until=`, or until so many are there: `input["together"]`,
`?together=`.
"""

import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

SLOTS = 16


class Gathering:
    """Lets those who wait go on once so many are there."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._there = 0

    def wait(self, number: int) -> bool:
        with self._changed:
            self._there += 1
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._there >= number, 60)


GATHERING = Gathering()


def held(asked: dict[str, Any]) -> None:
    """Wait for what is asked."""
    if "together" in asked:
        GATHERING.wait(int(asked["together"]))
    while "until" in asked and not Path(asked["until"]).exists():
        time.sleep(0.01)


def send(url: str, body: Any = None) -> Any:
    """One request of a worker's package; the JSON of the answer."""
    headers = {"Authorization": os.environ["RUNPOD_AI_API_KEY"]}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=90) as answer:
        text = answer.read()
    return json.loads(text) if text and answer.status == 200 else None


def url_of(name: str, job: str) -> str:
    worker = os.environ["RUNPOD_POD_ID"]
    return os.environ[name].replace("$RUNPOD_POD_ID", worker).replace("$ID", job)


def handle(job: dict[str, Any]) -> None:
    """Do a job and report it."""
    asked = job["input"]
    body: dict[str, Any] = {"output": {"echo": asked}}
    held(asked)
    if asked.get("do") == "yield":
        for number in range(asked["count"]):
            send(url_of("RUNPOD_WEBHOOK_POST_STREAM", job["id"]) + "&isStream=false", {"output": {"number": number}})
        body = {"output": []}
    if asked.get("do") == "fail" or ("unless" in asked and not Path(asked["unless"]).exists()):
        error = {"error_type": "<class 'ValueError'>", "error_message": "out of luck", "error_traceback": "line 1"}
        body = {"error": json.dumps(error)}
    if asked.get("do") == "job":
        body = {"output": {name: value for name, value in job.items() if name != "id"}}
    send(url_of("RUNPOD_WEBHOOK_POST_OUTPUT", job["id"]) + "&isStream=false", body)


def take_jobs() -> None:
    """Take jobs for ever, each in a thread of its own."""
    take = os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", os.environ["RUNPOD_POD_ID"])
    take = take.replace("/job-take/", "/job-take-batch/") + f"&batch_size={SLOTS}&job_in_progress=0"
    slots, running = threading.Semaphore(SLOTS), set()

    def run(job: dict[str, Any]) -> None:
        with slots:
            handle(job)
        running.discard(job["id"])

    def ping() -> None:
        while True:
            jobs = ",".join(running)
            send(f"{url_of('RUNPOD_WEBHOOK_PING', '')}?runpod_version=1.12.0" + (f"&job_id={jobs}" if jobs else ""))
            time.sleep(1)

    threading.Thread(target=ping, daemon=True).start()
    while True:
        for job in send(take) or []:
            running.add(job["id"])
            threading.Thread(target=run, args=[job], daemon=True).start()


class Answers(BaseHTTPRequestHandler):
    """The routes of the load-balanced worker."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        held(asked)
        mirrored = {
            "method": self.command,
            "path": self.path,
            "body": body.decode("latin-1"),
            "headers": {name.lower(): value for name, value in self.headers.items()},
        }
        kinds = {"/text": "text/plain; charset=latin-1", "/bytes": "image/png"}
        content = asked["content"].encode("latin-1") if "content" in asked else json.dumps(mirrored).encode()
        self.send_response(int(asked.get("status", 200)))
        self.send_header("Content-Type", kinds.get(parts.path, "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""


class Server(ThreadingHTTPServer):
    request_queue_size = 1000
    daemon_threads = True


if __name__ == "__main__":
    if sys.argv[1] == "jobs":
        take_jobs()
    else:
        Server(("127.0.0.1", int(os.environ["PORT"])), Answers).serve_forever()
