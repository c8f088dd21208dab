"""A stand-in for the control plane's program: keeps the agreement of `state_folder`, does nothing else.

Run as `python stand_in_plane.py CONTENT MODE`. Modes: `serve`, `fail` (one line of cause), `die` (a traceback), `hang`
(never listens), `deaf` (a record, nobody listens), `stubborn` (serves and ignores SIGTERM), `shot`
(killed by SIGKILL at each start but the third).
"""

import fcntl
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from runpod_flash.state_folder import PlaneRecord, StateFolder, process_started, write_private


def main(content: str, mode: str) -> None:
    """Live until SIGTERM."""
    state = StateFolder(Path(os.environ["FLASH_HOME"]), content)
    if mode == "fail":
        sys.exit("noise\nerror: the disk is full")
    if mode == "die":
        raise RuntimeError("unexpected")
    if mode == "shot":
        with state.home.joinpath("shots").open("a+") as file:
            file.write("x")
            file.seek(0)
            if len(file.read()) < 3:
                os.kill(os.getpid(), signal.SIGKILL)
    if mode == "hang":
        time.sleep(60)
    lock = state.plane_lock.open("ab")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "stubborn" else lambda *_: leave(state))
    write_private(state.key_path, b"key")
    with state.home.joinpath("starts").open("a") as file:
        file.write(
            json.dumps({"cwd": os.getcwd(), "env": dict(os.environ), "sid": os.getsid(0), "pid": os.getpid()}) + "\n"
        )
    listener = socket.socket(socket.AF_UNIX)
    state.socket.unlink(missing_ok=True)
    listener.bind(str(state.socket))
    port = socket.socket()
    port.bind(("127.0.0.1", 0))
    if mode != "deaf":
        listener.listen()
        port.listen()
    started = process_started(os.getpid()) or 0.0
    state.write_record(
        PlaneRecord(
            os.getpid(),
            started,
            "2.0.0",
            content,
            1,
            port.getsockname()[1],
            str(state.socket),
            str(state.worker_socket),
        )
    )
    signal.pause()
    while True:
        time.sleep(1)


def leave(state: StateFolder) -> None:
    """The end."""
    state.remove_record()
    sys.exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
