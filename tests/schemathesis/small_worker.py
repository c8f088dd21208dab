"""A worker of the published protocol, in a thread of the test."""

import contextlib
import threading
from collections.abc import Iterator

import httpx

ANSWER = {"object": "list", "data": []}


@contextlib.contextmanager
def working(url: str, endpoint: str, worker: str, key: str) -> Iterator[None]:
    """A worker that answers every job with an object, until the end of the block."""
    leaving = threading.Event()
    base = f"{url}/v2/{endpoint}"

    def work() -> None:
        with httpx.Client(headers={"Authorization": key}, trust_env=False, timeout=20) as client:
            while not leaving.is_set():
                taken = client.get(f"{base}/job-take/{worker}", params={"job_in_progress": "0"})
                taken.raise_for_status()
                if taken.status_code == 200:
                    done = f"{base}/job-done/{worker}/{taken.json()['id']}"
                    client.post(done, json={"output": ANSWER}).raise_for_status()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        leaving.set()
        thread.join(30)
