"""What the images of tests hold: a program that takes jobs, or answers HTTP, in plain Python.

python image_worker.py queue     answers each job with its input, its own arguments and a few variables
python image_worker.py web       answers at PORT
"""

import contextlib
import json
import os
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SHOWN = ("COLOUR", "SHADE", "PATH", "HOME", "RUNPOD_ENDPOINT_ID", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def about() -> dict[str, Any]:
    """What this program can tell of how it was started."""
    return {
        "arguments": sys.argv[1:],
        "env": {name: os.environ.get(name) for name in SHOWN},
        "worker": os.environ["RUNPOD_POD_ID"],
        "cores": len(os.sched_getaffinity(0)),
    }


def ask(url: str, body: Any = None) -> Any:
    """What is answered; None where that is nothing. Raises OSError."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": os.environ["RUNPOD_AI_API_KEY"]}
    with DIRECT.open(urllib.request.Request(url, data=data, headers=headers), timeout=90) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def ping(url: str, has: set[str]) -> None:
    """Say for ever which job this worker has."""
    while True:
        with contextlib.suppress(OSError):
            ask(url + "".join(f"&job_id={job}" for job in set(has)))
        time.sleep(int(os.environ["RUNPOD_PING_INTERVAL"]) / 1000)


def take_jobs() -> None:
    """Take one job at a time, until somebody ends this process."""
    worker = os.environ["RUNPOD_POD_ID"]
    take = os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", worker) + "&job_in_progress=0"
    done = os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", worker) + "&isStream=false"
    pings = os.environ["RUNPOD_WEBHOOK_PING"].replace("$RUNPOD_POD_ID", worker) + "?runpod_version=1.12.0"
    has = set[str]()
    threading.Thread(target=ping, args=[pings, has], daemon=True).start()
    print("ready for jobs", flush=True)
    while True:
        try:
            job = ask(take)
        except OSError:
            time.sleep(0.05)
            continue
        if job is not None:
            has.add(job["id"])
            time.sleep(job["input"].get("seconds", 0))
            with contextlib.suppress(OSError):
                ask(done.replace("$ID", job["id"]), {"output": {"input": job["input"], **about()}})
            has.clear()


class Web(BaseHTTPRequestHandler):
    """/ping is its health; all else is answered with what was sent."""

    def do_GET(self) -> None:
        self._answer({"status": "healthy"} if self.path == "/ping" else {"path": self.path, **about()})

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"null")
        self._answer({"path": self.path, "sent": sent, **about()})

    def log_message(self, *words: Any) -> None:
        pass

    def _answer(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    if sys.argv[1] == "queue":
        take_jobs()
    else:
        ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Web).serve_forever()
