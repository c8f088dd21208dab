"""Endpoints whose workers run `plain_worker.py`, made over HTTP as anybody may."""

import sys
from pathlib import Path
from typing import Any

from tests.support.place import Place
from tests.support.plane_api import plane_client

FOLDER = Path(__file__).parent


def plain_endpoint(place: Place, name: str, *, balanced: bool = False, workers: int = 1) -> str:
    """Make one in the place, whose control plane is started; its id."""
    if not list(place.home.glob("planes/*/record.json")):
        place.serve()
    queued = {"type": "QUEUE_DELAY", "queueDelay": 0}
    counted = {"type": "REQUEST_COUNT", "requestCount": 1000}
    body: dict[str, Any] = {
        "name": name,
        "type": "LOAD_BALANCER" if balanced else "QUEUE",
        "command": f"{sys.executable} plain_worker.py {'http' if balanced else 'jobs'}",
        "directory": str(FOLDER),
        "cpu": [{"id": "cpu3c", "vcpuCount": 1}],
        "workers": {"min": 0, "max": workers, **({} if balanced else {"idleTimeout": 60})},
        "scaling": counted if balanced else queued,
    }
    with plane_client(place) as client:
        answer = client.post("/v2/serverless", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])
