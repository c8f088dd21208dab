"""A worker's command that speaks the published protocol in plain Python: `python command_worker.py FOLDER`.

It takes one job at a time, says again and again which one it has, writes its start to FOLDER/starts and answers.
"""

import contextlib
import json
import os
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

WORKER = os.environ["RUNPOD_POD_ID"]
TAKE = os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", WORKER) + "&job_in_progress=0"
DONE = os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", WORKER) + "&isStream=false"
PING = os.environ["RUNPOD_WEBHOOK_PING"].replace("$RUNPOD_POD_ID", WORKER) + "?runpod_version=1.12.0"
PING_S = int(os.environ["RUNPOD_PING_INTERVAL"]) / 1000
KEY = {"Authorization": os.environ["RUNPOD_AI_API_KEY"]}
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
TRIES = 3


def ask(url: str, body: Any = None) -> Any:
    """What is answered; None where that is nothing. Raises OSError."""
    data = None if body is None else json.dumps(body).encode()
    with DIRECT.open(urllib.request.Request(url, data=data, headers=KEY), timeout=90) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def ping(has: set[str]) -> None:
    """Say for ever what this worker has."""
    while True:
        with contextlib.suppress(OSError):
            ask(PING + "".join(f"&job_id={job}" for job in set(has)))
        time.sleep(PING_S)


def run(job: dict[str, Any], folder: Path) -> None:
    """Run one job and answer it."""
    number = job["input"]["number"]
    with (folder / "starts").open("a") as starts:
        starts.write(f"{number}\n")
    time.sleep(job["input"]["seconds"])
    for _ in range(TRIES):
        with contextlib.suppress(OSError):
            ask(DONE.replace("$ID", job["id"]), {"output": {"number": number, "value": number * number + 7}})
            return
        time.sleep(0.05)


def main(folder: Path) -> None:
    """Work until somebody ends this process."""
    has = set[str]()
    threading.Thread(target=ping, args=[has], daemon=True).start()
    while True:
        try:
            job = ask(TAKE)
        except OSError:
            time.sleep(0.05)
            continue
        if job is not None:
            has.add(job["id"])
            run(job, folder)
            has.clear()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
