"""A worker without a will of its own: it says with which variables it was started, and pings; a test does the rest."""

import json
import os
import time
import urllib.request
from pathlib import Path

folder, worker = Path(os.environ["PUPPET_FOLDER"]), os.environ["RUNPOD_POD_ID"]
(folder / f"{worker}.tmp").write_text(json.dumps(dict(os.environ)))
(folder / f"{worker}.tmp").rename(folder / f"{worker}.json")
ping = urllib.request.Request(
    os.environ["RUNPOD_WEBHOOK_PING"].replace("$RUNPOD_POD_ID", worker),
    headers={"Authorization": os.environ["RUNPOD_AI_API_KEY"]},
)
while True:
    urllib.request.urlopen(ping).close()
    time.sleep(int(os.environ["RUNPOD_PING_INTERVAL"]) / 1000)
