"""Mistakes are told at the border, with what happened, why and what to do; nothing half-made stays."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.place import Place

DECLARATIONS = [
    ("Endpoint(name='a', gpus=1)", "UnknownOption", ["gpus", "gpu"]),
    ("Endpoint(name='a', gpu='NVIDIA L4', cpu='cpu3c-1-2')", "ConfigError", ["gpu", "cpu"]),
    ("Endpoint(name='a', gpu='NVIDIA L44')", "ConfigError", ["NVIDIA L4"]),
    ("Endpoint(name='a', cpu='cpu3c-1-3')", "ConfigError", ["cpu3c-1-2"]),
    ("Endpoint(name='a', workers=-1)", "ConfigError", ["workers", "-1"]),
    ("Endpoint(name='a', workers=(3, 1))", "ConfigError", ["workers", "3"]),
    ("Endpoint(name='a', dependencies=['numpy=>1'])", "ConfigError", ["numpy=>1"]),
]

CALLS = [
    ("f.remote()", "CallError", ["x"]),
    ("f.remote(1, 2, 3)", "CallError", []),
    ("f(1, z=3)", "CallError", ["z"]),
    ("f.remote(threading.Lock())", "NotPicklable", ["'x'", "lock"]),
    ("g.remote(1)", "NotPicklable", ["LOCK"]),
]


@pytest.mark.parametrize(("declaration", "error", "words"), DECLARATIONS)
def test_a_wrong_declaration(place: Place, declaration: str, error: str, words: list[str]) -> None:
    done = place.run(["-c", f"from runpod_flash import Endpoint\n{declaration}"])
    last = done.stderr.strip().splitlines()[-1]
    assert done.status == 1
    assert error in last
    for word in words:
        assert word in last
    assert list(place.home.iterdir()) == []


def test_wrong_calls(shared_place: Place) -> None:
    script = f"""
import threading
from runpod_flash import Endpoint
LOCK = threading.Lock()
@Endpoint(name="wrong", cpu="cpu3c-1-2")
def f(x): return x
@Endpoint(name="wrong", cpu="cpu3c-1-2")
def g(x): return LOCK
for call in {[call for call, *_ in CALLS]}:
    try:
        eval(call)
    except Exception as error:
        print(type(error).__name__, str(error).replace("\\n", " "))
"""
    told = shared_place.run_script(script, name="wrong.py").good().stdout.splitlines()
    for line, (call, error, words) in zip(told, CALLS, strict=True):
        assert line.startswith(f"{error} "), call
        assert [word for word in words if word not in line] == [], line


def test_a_wrong_call_that_nobody_catches(shared_place: Place) -> None:
    script = """
        from runpod_flash import Endpoint
        @Endpoint(name="wrong", cpu="cpu3c-1-2")
        def f(x): return x
        f.remote()
    """
    done = shared_place.run_script(script, name="wrong.py")
    assert done.status == 1
    assert "CallError" in done.stderr.splitlines()[-1]


ADD = """
from runpod_flash import Endpoint
@Endpoint(name="add", cpu="cpu3c-1-2")
def add(a, b): return a + b
print(add.remote(1, 2))
"""


def plane_folder(place: Place) -> Path:
    """The folder of the one control plane of this place."""
    (folder,) = (place.home / "planes").glob("*/")
    return folder


def refused(place: Place, *words: str, env: dict[str, str] | None = None) -> None:
    """The script fails with BackendUnavailable whose message has these words, and no traceback of ours beyond it."""
    done = place.run_script(ADD, env=env)
    assert done.status == 1, done
    assert "BackendUnavailable" in done.stderr or "BackendError" in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def test_a_corrupt_database(place: Place) -> None:
    place.run_script(ADD).good()
    place.flash("server", "stop").good()
    database = plane_folder(place) / "flash.db"
    for path in plane_folder(place).glob("flash.db*"):
        path.unlink()
    database.write_bytes(b"this is no database" * 1000)
    refused(place, "flash.db")
    assert database.read_bytes().startswith(b"this is no database")


@pytest.mark.slow
def test_a_locked_database(place: Place) -> None:
    place.run_script(ADD).good()
    place.flash("server", "stop").good()
    database = plane_folder(place) / "flash.db"
    hold = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('pragma locking_mode=exclusive'); "
        "c.execute('begin exclusive'); print(1, flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        refused(place, "locked")
    finally:
        holder.kill()
        holder.communicate()
    assert place.run_script(ADD).good().stdout.strip() == "3"


@pytest.mark.slow
def test_a_port_in_use(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused(place, port, "FLASH_PORT", env={"FLASH_PORT": port})
    assert place.run_script(ADD).good().stdout.strip() == "3"


def test_a_state_folder_that_cannot_be_made(place: Place) -> None:
    blocked = place.project / "a-file"
    blocked.write_text("")
    refused(place, "FLASH_HOME", env={"FLASH_HOME": str(blocked / "home")})


def _in_mount_namespace(place: Place, prepare: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run the script with FLASH_HOME=/mnt where `prepare` has mounted something; the mount is nobody else's."""
    path = place.write("script.py", ADD)
    probe = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    if probe.returncode != 0 or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs the right to mount")
    command = f"{prepare} && exec {sys.executable} {path}"
    env = place.env({"FLASH_HOME": "/mnt/flash"})
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", command], env=env, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def test_a_read_only_state_folder(place: Place) -> None:
    done = _in_mount_namespace(
        place, "mount -t tmpfs -o size=50m none /mnt && mkdir /mnt/flash && mount -o remount,ro /mnt"
    )
    assert done.returncode == 1
    assert "BackendUnavailable" in done.stderr
    assert "FLASH_HOME" in done.stderr


def test_a_full_disk(place: Place) -> None:
    done = _in_mount_namespace(
        place, "mount -t tmpfs -o size=1m none /mnt && mkdir /mnt/flash && head -c 900k /dev/zero > /mnt/flash/fill"
    )
    assert done.returncode == 1
    assert re.search(
        r"BackendUnavailable: the control plane could not start: .*\(No space left on device\)", done.stderr
    )


def test_a_server_of_another_protocol_version(place: Place) -> None:
    server = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"protocol": 99, "version": "9.9.9", "content": "x", "pid": 1, "gpus": []}).encode()
        if "events" in self.path: body = json.dumps({"event": "hello", "client": "x", "protocol": 99}).encode() + b"\\n"
        self.send_response(200); self.send_header("Content-Length", str(len(body)))
        self.end_headers(); self.wfile.write(body)
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
    with subprocess.Popen([sys.executable, "-c", server], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        done = place.run_script(ADD, env={"FLASH_TARGET": f"http://127.0.0.1:{port}", "FLASH_API_KEY": "k"})
        process.kill()
    assert done.status == 1
    assert "WireMismatch" in done.stderr
    assert "99" in done.stderr


def test_a_wrong_key(place: Place) -> None:
    place.run_script(ADD).good()
    record = json.loads((plane_folder(place) / "record.json").read_text())
    done = place.run_script(
        ADD, env={"FLASH_TARGET": f"http://127.0.0.1:{record['port']}", "FLASH_API_KEY": "guessed-key-1"}
    )
    assert done.status == 1
    assert "AuthError" in done.stderr
    assert "guessed-key-1" not in done.stderr


def test_secrets_are_for_this_user_alone(place: Place) -> None:
    place.run_script(ADD).good()
    folder = plane_folder(place)
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    assert place.home.stat().st_mode & 0o077 == 0 or folder.stat().st_mode & 0o077 == 0
    record = json.loads((folder / "record.json").read_text())
    assert Path(record["socket"]).stat().st_mode & 0o777 == 0o600
    assert (folder / "key").read_text().strip() not in (folder / "plane.log").read_text()
