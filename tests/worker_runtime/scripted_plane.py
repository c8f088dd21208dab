"""A control plane of a few lines: a real worker (parent and child) runs under it, and every frame is kept."""

import asyncio
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import cloudpickle

from tests.support import framed
from worker_runtime import launch_command
from worker_runtime.wire import frames, items, messages, paths, payload
from worker_runtime.wire.jobs import Call, ErrorInfo, ErrorKind, Instance, Payload
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest, WorkerLaunch

ROOT = Path(__file__).parents[2]
USER_CODE = Path(__file__).with_name("user_code.py")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def bundle(folder: Path) -> Path:
    """A folder from which a worker imports its runtime."""
    folder.mkdir(parents=True)
    (folder / "worker_runtime").symlink_to(ROOT / "worker_runtime")
    (folder / "cloudpickle").symlink_to(Path(cloudpickle.__file__).parent)
    return folder


def by_name(name: str, *, kind: str = "function", more: dict[str, bytes] | None = None) -> tuple[str, bytes]:
    """Ship a function or class of `user_code.py` as a file that is imported: (artifact id, artifact)."""
    files = {"user_code.py": USER_CODE.read_bytes(), **(more or {})}
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    entry = name if ":" in name else f"user_code:{name}"
    manifest = ArtifactManifest(kind, name, "0", EnvironmentRequest(PYTHON), entry, hashes)
    return manifest.id, paths.pack(manifest, None, files)


def by_value(target: Any, *, kind: str = "function", files: dict[str, bytes] | None = None) -> tuple[str, bytes]:
    """Ship a live function or class pickled, as code of `__main__` is: (artifact id, artifact)."""
    code = payload.encode(target)
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in (files or {}).items()}
    manifest = ArtifactManifest(
        kind, target.__name__, hashlib.sha256(code).hexdigest(), EnvironmentRequest(PYTHON), None, hashes
    )
    return manifest.id, paths.pack(manifest, code, files or {})


def instance_of(name: str, *args: Any, **kwargs: Any) -> Instance:
    """An instance by id, with its constructor's arguments."""
    return Instance(name, Payload.of(payload.encode((args, kwargs))))


@dataclass
class Plane:
    """The scripted control plane and its one worker; use it as an asynchronous context manager."""

    folder: Path  # short: a unix socket lives in it
    python: str = sys.executable
    user: int | None = None
    isolate: bool = True
    tcp: bool = False
    settings: dict[str, Any] = field(default_factory=dict)  # of WorkerLaunch
    frames: list[tuple[float, dict[str, Any], bytes]] = field(default_factory=list)

    async def __aenter__(self) -> "Plane":
        self._changed = asyncio.Event()
        self._connected: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
        self._sent: set[str] = set()
        self._jobs = 0
        self.link_closed = asyncio.Event()
        if self.tcp:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            address = f"tcp:127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        else:
            path = str(self.folder / "link")
            self._server = await asyncio.start_unix_server(self._serve, path)
            os.chmod(path, 0o777)
            address = f"unix:{path}"
        launch = WorkerLaunch(
            worker="w1", token="secret", address=address, endpoint="ep", name="endpoint",
            folder=str(self.folder / "worker"), python=self.python, bundle=str(self.folder / "bundle"),
            env={"MARK": str(self.folder), "PATH": os.defpath}, beat_s=0.2, cancel_grace_s=0.5,
        )  # fmt: skip
        self.launch = replace(launch, **self.settings)
        if not (self.folder / "bundle").exists():
            bundle(self.folder / "bundle")
        self.process = await self._start()
        return self

    async def _start(self) -> asyncio.subprocess.Process:
        account = {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}
        process = await asyncio.create_subprocess_exec(
            *launch_command(self.python, self.launch.bundle, isolate=self.isolate),
            stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={}, **account,  # type: ignore[arg-type]
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(json.dumps(self.launch.to_json()).encode() + b"\n")
        process.stdin.close()
        return process

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._connected.done():
            self._connected.result().close()
        self._server.close()
        try:
            await asyncio.wait_for(self.process.wait(), 15)
        except TimeoutError:
            self.process.kill()
            raise
        finally:
            if self.process.stderr is not None:
                sys.stderr.write((await self.process.stderr.read()).decode())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            header, _ = await framed.read(reader)
            self._keep(header, b"")
            writer.writelines(frames.encode({"type": messages.WELCOME}))
            self._connected.set_result(writer)
            while True:
                self._keep(*await framed.read(reader))
        except (EOFError, ConnectionError):
            pass
        finally:
            self.link_closed.set()
            writer.close()

    def _keep(self, header: dict[str, Any], body: bytes) -> None:
        self.frames.append((time.monotonic(), header, body))
        self._changed.set()

    async def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Send one frame to the worker."""
        (await asyncio.wait_for(asyncio.shield(self._connected), 10)).writelines(frames.encode(header, body))

    async def ship(self, artifact: tuple[str, bytes]) -> str:
        """Send an artifact that the worker does not have; gives its id."""
        name, data = artifact
        if name not in self._sent:
            self._sent.add(name)
            await self.send({"type": messages.ARTIFACT, "id": name}, data)
        return name

    async def start(
        self,
        artifact: tuple[str, bytes],
        *args: Any,
        method: str | None = None,
        instance: Instance | None = None,
        timeout_ms: int = 600_000,
        attempt: int = 1,
        window: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> str:
        """Send a call; gives its job id. `window`: its stream is wanted, and may run ahead so far."""
        name = await self.ship(artifact)
        encoded = payload.encode((args, kwargs))
        call = Call(name, Payload.inlined(encoded), method, instance, stream=window is not None)
        parts = [encoded] if instance is None else [encoded, instance.constructor.inline or b""]
        self._jobs += 1
        job = f"job{self._jobs}"
        header = {
            "type": messages.RUN, "job": job, "attempt": attempt, "call": call.head(),
            "sizes": [len(part) for part in parts], "timeout_ms": timeout_ms,
            **({} if window is None else {"window": list(window)}),
        }  # fmt: skip
        await self.send(header, b"".join(parts))
        return job

    def items(self, job: str) -> list[Any]:
        """The items of its stream that have come so far."""
        return [
            items.plain(body) if header["plain"] else payload.decode(body)
            for _, header, body in self.frames
            if header["type"] == messages.CHUNK and header["job"] == job
        ]

    async def outcome(self, job: str) -> Any:
        """Wait for a job's end: its value, or its ErrorInfo."""
        header, body = await self.frame(messages.DONE, job=job)
        return payload.decode(body) if "error" not in header else ErrorInfo.from_json(header["error"])

    async def call(self, artifact: tuple[str, bytes], *args: Any, **kwargs: Any) -> Any:
        """Send a call and wait for its end: the value, or the ErrorInfo."""
        return await self.outcome(await self.start(artifact, *args, **kwargs))

    async def frame(self, kind: str, **fields: Any) -> tuple[dict[str, Any], bytes]:
        """Wait for a frame of a type with such fields."""
        return await self.until(
            lambda: next((
                (header, body) for _, header, body in self.frames
                if header["type"] == kind and all(header.get(name) == value for name, value in fields.items())
            ), None),
            f"{kind} {fields}",
        )  # fmt: skip

    async def until(self, condition: Callable[[], Any], what: str, deadline_s: float = 15.0) -> Any:
        """Wait until frames make a condition true; gives its value."""
        end = time.monotonic() + deadline_s
        while not (value := condition()):
            if self.link_closed.is_set() or time.monotonic() > end:
                raise AssertionError(f"no {what}; frames: {[header for _, header, _ in self.frames]}")
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), 0.1)
            except TimeoutError:
                continue
        return value

    def kinds(self) -> list[str]:
        """The types of all frames so far, without beats."""
        return [header["type"] for _, header, _ in self.frames if header["type"] != messages.BEAT]

    def lines(self, stream: str = "stdout", job: str | None = "any") -> list[str]:
        """The lines logged so far."""
        return [
            line
            for _, header, _ in self.frames
            if header["type"] == messages.LOG and header["stream"] == stream and job in ("any", header["job"])
            for line in header["lines"]
        ]

    def left_over(self) -> list[int]:
        """Processes of this worker that live: the parent and all that user code started."""
        return processes_marked(str(self.folder))

    async def nothing_left(self) -> None:
        """Fail where something of the worker still lives after a while."""
        end = time.monotonic() + 10
        while left := self.left_over():
            if time.monotonic() > end:
                raise AssertionError(f"still alive: {left}")
            await asyncio.sleep(0.02)


def processes_marked(mark: str) -> list[int]:
    """Live processes that have the mark in their environment or command line."""
    return [pid for pid in _pids() if mark.encode() in _read(pid, "environ") + _read(pid, "cmdline")]


def _pids() -> Iterable[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def is_error(outcome: Any, kind: ErrorKind, type_name: str | None = None) -> ErrorInfo:
    """Check that an outcome is an error of a kind."""
    assert isinstance(outcome, ErrorInfo), outcome
    assert outcome.kind is kind, outcome
    assert type_name is None or outcome.type == type_name, outcome
    return outcome


def kill(pid: int) -> None:
    """SIGKILL."""
    os.kill(pid, signal.SIGKILL)
