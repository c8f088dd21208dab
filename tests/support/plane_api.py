"""Speaks to the control plane of a place over its own HTTP, as any client may, without the SDK."""

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from runpod_flash.control_plane.store import Store
from tests.support.place import Place
from worker_runtime.wire.jobs import Call


def plane_folder(place: Place) -> Path:
    """The folder of the one control plane of this place."""
    (folder,) = (place.home / "planes").glob("*/")
    return folder


def plane_record(place: Place) -> dict[str, Any]:
    """What the running control plane says of itself."""
    found: dict[str, Any] = json.loads((plane_folder(place) / "record.json").read_text())
    return found


def control_plane(place: Place) -> psutil.Process:
    """The process of the control plane."""
    return psutil.Process(plane_record(place)["pid"])


def plane_client(place: Place) -> httpx.Client:
    """An HTTP client with the key; the caller closes it."""
    key = (plane_folder(place) / "key").read_text().strip()
    url = f"http://127.0.0.1:{plane_record(place)['port']}"
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=20)


def last_input(place: Place) -> object:
    """The input of the job that a script has submitted last, taken from a copy of the database."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("flash.db", "flash.db-wal"):
            shutil.copy(plane_folder(place) / name, folder)
        store = Store.open(Path(folder) / "flash.db")
        try:
            ((_, last),) = store.brief_jobs((), None, 1)
            job = store.job(last.id)
        finally:
            store.close()
    assert job is not None
    return job.input.to_input() if isinstance(job.input, Call) else dict(job.input)


@contextlib.contextmanager
def begun(place: Place, script: str, *arguments: str, **env: str) -> "Iterator[subprocess.Popen[str]]":
    """A running script; what a failed test leaves of it is killed."""
    with place.start([str(place.write("script.py", script)), *arguments], env=env) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(process: "subprocess.Popen[str]", timeout_s: float = 60) -> str:
    """Wait for a script's good end; returns what it printed."""
    stdout, stderr = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, f"{stdout}\n{stderr}"
    return stdout.strip()
