"""A stand-in for a container engine, with docker's documented command line: `info image-inspect pull run ps rm`.

As with the real one, a daemon holds the containers, so that killing the command line leaves them running. An "image" is
a JSON file `FOLDER/images/NAME` with the words of a program of this machine; one in `FOLDER/registry` can be pulled.

    python stand_in_engine.py daemon FOLDER         answers at FOLDER/engine.sock until it is ended
    python stand_in_engine.py cli FOLDER WORDS…     what `docker WORDS…` does
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

ENGINE_FAULT = 125


def complain(text: str, code: int = ENGINE_FAULT) -> NoReturn:
    sys.stderr.write(f"{text}\n")
    sys.exit(code)


# ---- the daemon


class Daemon:
    """Holds the containers, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.containers: dict[str, tuple[subprocess.Popen[bytes], dict[str, Any]]] = {}
        self.lock = threading.Lock()

    def serve(self) -> None:
        """Answer until the process is ended; the containers end with it."""
        path = self.folder / "engine.sock"
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen(64)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            while True:
                connection, _ = server.accept()
                threading.Thread(target=self._answer, args=[connection], daemon=True).start()
        finally:
            path.unlink()
            for process, _ in self.containers.values():
                kill(process)

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            asked = json.loads(connection.makefile("r").readline())
            answer = getattr(self, f"_{asked['verb']}")(asked, connection)
            with contextlib.suppress(OSError):  # who asked was killed
                connection.sendall(json.dumps(answer).encode() + b"\n")

    def _info(self, asked: dict[str, Any], connection: socket.socket) -> dict[str, Any]:
        return {"ok": True}

    def _ps(self, asked: dict[str, Any], connection: socket.socket) -> dict[str, Any]:
        label = asked["label"]
        with self.lock:
            held = {name: how["labels"] for name, (_, how) in self.containers.items()}
        return {"names": [name for name, has in held.items() if label in (*has, *(each.split("=")[0] for each in has))]}

    def _rm(self, asked: dict[str, Any], connection: socket.socket) -> dict[str, Any]:
        with self.lock:
            found = [self.containers.pop(name)[0] for name in asked["names"] if name in self.containers]
        for process in found:
            kill(process)
            process.wait()
        return {"removed": len(found)}

    def _run(self, asked: dict[str, Any], connection: socket.socket) -> dict[str, Any]:
        with self.lock:
            if asked["name"] in self.containers:
                return {"fault": f"the container name {asked['name']} is in use"}
            descriptors = [os.open(path, os.O_WRONLY) for path in asked["streams"]]
            process = subprocess.Popen(
                asked["argv"], env=asked["env"], stdin=subprocess.DEVNULL, stdout=descriptors[0],
                stderr=descriptors[1], start_new_session=True,
            )  # fmt: skip
            for descriptor in descriptors:
                os.close(descriptor)
            self.containers[asked["name"]] = process, asked
        (self.folder / "log").open("a").write(json.dumps(asked) + "\n")
        threading.Thread(target=self._forward, args=[connection, process], daemon=True).start()
        code = process.wait()
        kill(process)
        with self.lock:
            self.containers.pop(asked["name"], None)
        return {"exit": code if code >= 0 else 128 - code}

    def _forward(self, connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
        """Signals that the command line has got."""
        with contextlib.suppress(OSError):
            while number := connection.recv(1):
                process.send_signal(number[0])


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End all of a container: its program, and what that has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


# ---- the command line


def ask(folder: Path, **asked: Any) -> tuple[socket.socket, Any]:
    """Send a request; the connection, and a stream with the answer."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(folder / "engine.sock"))
    except OSError:
        complain(
            f"Cannot connect to the Docker daemon at unix://{folder}/engine.sock. Is the docker daemon running?", 1
        )
    connection.sendall(json.dumps(asked).encode() + b"\n")
    return connection, connection.makefile("r")


def answered(folder: Path, **asked: Any) -> dict[str, Any]:
    return dict(json.loads(ask(folder, **asked)[1].readline()))


def run(folder: Path, words: list[str]) -> NoReturn:
    """`docker run` in the foreground: gives the container's output and exit code, and hands signals on."""
    options = argparse.ArgumentParser(prog="docker run", exit_on_error=False)
    for flag in ("--rm", "--init"):
        options.add_argument(flag, action="store_true", required=True)
    for name in (
        "--name",
        "--network",
        "--cpuset-cpus",
        "--memory",
        "--entrypoint",
        "--gpus",
        "--cap-drop",
        "--volume",
    ):
        options.add_argument(name)
    options.add_argument("--label", action="append", default=[])
    options.add_argument("--env", action="append", default=[])
    options.add_argument("image")
    options.add_argument("arguments", nargs=argparse.REMAINDER)
    given = options.parse_args(words)
    image = folder / "images" / quote(given.image, safe="")
    if not image.exists():
        complain(f"Unable to find image '{given.image}' locally")
    program = [given.entrypoint] if given.entrypoint else json.loads(image.read_text())
    pairs = [item.partition("=") if "=" in item else (item, "", os.environ[item]) for item in given.env]
    fifos = [str(folder / f"{given.name}.{number}") for number in (1, 2)]
    for fifo in fifos:
        os.mkfifo(fifo)
    copies = [threading.Thread(target=copy, args=[fifo, number + 1]) for number, fifo in enumerate(fifos)]
    for thread in copies:
        thread.start()
    connection, answer = ask(
        folder, verb="run", name=given.name, labels=given.label, argv=[*program, *given.arguments],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **{name: value for name, _, value in pairs}}, streams=fifos,
        memory=given.memory, cpus=given.cpuset_cpus, gpus=given.gpus, network=given.network,
    )  # fmt: skip
    signal.signal(signal.SIGTERM, lambda number, _: connection.sendall(bytes([number])))
    told = json.loads(answer.readline())
    if "fault" in told:
        complain(told["fault"])
    for thread in copies:
        thread.join(5)
    for fifo in fifos:
        os.unlink(fifo)
    sys.exit(told["exit"])


def copy(fifo: str, number: int) -> None:
    """What the container writes goes to this program's own stream."""
    with open(fifo, "rb") as source:
        while data := source.read1(65536):
            os.write(number, data)


def cli(folder: Path, words: list[str]) -> None:
    match words:
        case ["info"]:
            answered(folder, verb="info")
        case ["image", "inspect", name]:
            answered(folder, verb="info")
            if not (folder / "images" / quote(name, safe="")).exists():
                complain(f"Error: No such image: {name}", 1)
        case ["pull", name]:
            source = folder / "registry" / quote(name, safe="")
            if not source.exists():
                complain(f"Error response from daemon: pull access denied for {name}, repository does not exist", 1)
            shutil.copy(source, folder / "images")
        case ["run", *rest]:
            run(folder, rest)
        case ["ps", "--all", "--quiet", "--filter", filtered]:
            print("\n".join(answered(folder, verb="ps", label=filtered.removeprefix("label="))["names"]))
        case ["rm", "--force", *names]:
            answered(folder, verb="rm", names=names)
        case _:
            complain(f"docker: {words} is no docker command that is known here")


if __name__ == "__main__":
    place = Path(sys.argv[2])
    if sys.argv[1] == "daemon":
        Daemon(place).serve()
    else:
        cli(place, sys.argv[3:])
