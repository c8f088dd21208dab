"""Where the embedded control plane keeps its state on disk, and the record by which clients find it.

FLASH_HOME/
    planes/<content12>/     record.json  key  flash.db  reserve  plane.log  start.lock  plane.lock  programs.lock
    planes/api_keys.json    of all contents together
    volumes/                network volumes, of all contents together
    blobs/  environments/  bundles/<content12>/  work/
<runtime>/<12 digits>/      api.sock  calls.sock  workers.sock   (short: paths of sockets end at about 100 characters)

Used by the client and by the control plane. The control plane holds an flock on `plane_lock` as long as it lives, makes
the key before it listens and writes the record after. Programs that use it share one on `programs_lock`.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from runpod_flash.errors import BackendUnavailable

SOCKET_PATH_LIMIT = 100
"""Longest path of a unix socket that every system takes, in bytes."""

STATES = ("starting", "serving", "superseded", "draining", "stopping")
"""The life of a control plane. A superseded one serves its clients still, and leaves as soon as they have gone."""

_SHORT = 12  # digits of a hash in a folder's name


@dataclass(frozen=True, slots=True)
class PlaneRecord:
    """A running control plane, as it describes itself to clients of this machine.

    `started` is `process_started(pid)`: with it a process that got the number of a dead control plane is told apart.
    """

    pid: int
    started: float
    version: str
    content: str
    protocol: int
    port: int
    socket: str
    worker_socket: str
    state: str = "serving"  # one of STATES
    drain_s: float = 10.0  # how long its running jobs have when it is asked to stop
    url: str = ""  # where it listens for others, if it does
    calls: str = ""  # the socket on which it speaks frames with clients of this machine, if it does
    is_new: bool = False  # whether its content has come here for the first time, and takes the place of those before

    @property
    def serving(self) -> bool:
        """Whether clients may turn to it."""
        return self.state in ("serving", "superseded")

    @property
    def alive(self) -> bool:
        """Whether the process that wrote this record still runs."""
        now = process_started(self.pid)
        return now is not None and abs(now - self.started) < 2  # no pid comes round again within two seconds


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The paths of one control plane's state: for one home folder and one content of the package.

    `runtime_home` is where sockets may live (the value of XDG_RUNTIME_DIR); without it, the folder for temporary files.
    """

    home: Path
    content: str
    runtime_home: Path | None = None

    @property
    def plane(self) -> Path:
        """What belongs to this content alone."""
        return self.home / "planes" / self.content[:_SHORT]

    @property
    def record_path(self) -> Path:
        return self.plane / "record.json"

    @property
    def key_path(self) -> Path:
        return self.plane / "key"

    @property
    def database(self) -> Path:
        return self.plane / "flash.db"

    @property
    def api_keys(self) -> Path:
        """The API keys, which all contents share; beside what no worker can see."""
        return self.home / "planes" / "api_keys.json"

    @property
    def reserve(self) -> Path:
        """Holds back room on the disk."""
        return self.plane / "reserve"

    @property
    def log(self) -> Path:
        return self.plane / "plane.log"

    @property
    def start_lock(self) -> Path:
        """Held by the client that starts a control plane."""
        return self.plane / "start.lock"

    @property
    def plane_lock(self) -> Path:
        """Held by the control plane while it lives."""
        return self.plane / "plane.lock"

    @property
    def programs_lock(self) -> Path:
        """Shared by the programs that use the control plane, while they live."""
        return self.plane / "programs.lock"

    @property
    def blobs(self) -> Path:
        return self.home / "blobs"

    @property
    def volumes(self) -> Path:
        """Network volumes, which outlive endpoints and all contents share."""
        return self.home / "volumes"

    @property
    def environments(self) -> Path:
        return self.home / "environments"

    @property
    def bundle(self) -> Path:
        """The copy of our packages that workers of this content import."""
        return self.home / "bundles" / self.content[:_SHORT]

    @property
    def work(self) -> Path:
        """A folder for each worker."""
        return self.home / "work"

    @property
    def runtime(self) -> Path:
        """Where the sockets are. The first candidate that is short enough; raises BackendUnavailable if none is."""
        name = hashlib.sha256(f"{self.home.absolute()}\0{self.content}".encode()).hexdigest()[:_SHORT]
        for root in self._runtime_roots():
            if len(os.fsencode(root / name / "workers.sock")) <= SOCKET_PATH_LIMIT:
                return root / name
        raise BackendUnavailable(
            f"no folder for sockets has a path short enough ({SOCKET_PATH_LIMIT} bytes with the socket's name): "
            f"{tempfile.gettempdir()} is too long; set TMPDIR to a shorter one"
        )

    @property
    def socket(self) -> Path:
        """Where the control plane answers HTTP."""
        return self.runtime / "api.sock"

    @property
    def calls_socket(self) -> Path:
        """Where the control plane speaks frames with clients."""
        return self.runtime / "calls.sock"

    @property
    def worker_socket(self) -> Path:
        """Where the control plane answers workers."""
        return self.runtime / "workers.sock"

    @property
    def arena_socket(self) -> Path:
        """Where the control plane shares memory with programs and workers."""
        return self.runtime / "arena.sock"

    def prepare(self) -> None:
        """Make all folders, for this user alone. Does nothing where they are in order.

        Raises:
            BackendUnavailable: a folder cannot be made or written, or the one for sockets belongs to another user.
        """
        for folder in (self.plane, self.blobs, self.volumes, self.environments, self.bundle.parent, self.work):
            _make_private(folder, self.home, "set FLASH_HOME to a folder that can be written")
        runtime = self.runtime
        way_out = "set XDG_RUNTIME_DIR or TMPDIR to a folder of your own"
        _make_private(runtime, runtime.parent, way_out)
        for folder in (runtime.parent, runtime):
            state = folder.lstat()
            if state.st_uid != os.geteuid() or state.st_mode & 0o077 or not folder.is_dir() or folder.is_symlink():
                raise BackendUnavailable(
                    f"the folder for sockets, {folder}, is not this user's alone: whoever owns it could answer in our "
                    f"place; remove it or {way_out}"
                )

    def read_record(self) -> PlaneRecord | None:
        """The record, or None where there is none or it cannot be read as one."""
        try:
            data = json.loads(self.record_path.read_bytes())
            wanted = {field.name: field.type for field in fields(PlaneRecord)}
            known = {name: value for name, value in data.items() if name in wanted}  # another version may say more
            record = PlaneRecord(**known)
        except (OSError, ValueError, TypeError, AttributeError):
            return None
        right = all(
            type(value) is wanted[name] or (wanted[name] is float and type(value) is int)
            for name, value in known.items()
        )
        return record if right else None

    def write_record(self, record: PlaneRecord) -> None:
        """Publish the record in one step: a reader sees the old one, the new one or none, never a part."""
        write_private(self.record_path, json.dumps(asdict(record)).encode())

    def remove_record(self) -> None:
        """Withdraw the record (when the control plane ends)."""
        with contextlib.suppress(OSError):
            self.record_path.unlink()

    def read_key(self) -> str | None:
        """The key that the control plane made, None where there is none."""
        try:
            return self.key_path.read_text(encoding="utf-8").strip() or None
        except (OSError, ValueError):
            return None

    def others(self) -> Iterator["StateFolder"]:
        """The state of other contents of the package in the same home that left a record: older or newer versions."""
        for path in sorted(self.home.glob("planes/*/record.json")):
            if path.parent != self.plane:
                yield StateFolder(self.home, path.parent.name, self.runtime_home)

    def _runtime_roots(self) -> Iterator[Path]:
        if self.runtime_home is not None:
            yield self.runtime_home / "runpod-flash"
        for folder in (tempfile.gettempdir(), "/tmp"):
            yield Path(folder).absolute() / f"runpod-flash-{os.geteuid()}"


def is_locked(path: Path) -> bool:
    """Whether a process holds this lock, also together with others. For a moment nobody else can take it."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def write_private(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file that only this user can read, in one step; `durable`: a loss of power leaves the old or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def process_started(pid: int) -> float | None:
    """When a process started, in seconds of a clock that never jumps on this machine, or None where it does not run.

    Processes that have ended but whose parent has not asked yet do not run.
    """
    if sys.platform == "linux":
        try:
            state, *numbers = (
                Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            )
        except (OSError, ValueError):
            return None
        return None if state in "ZX" else int(numbers[18]) / os.sysconf("SC_CLK_TCK")
    shown = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        env={"LC_ALL": "C"},
        check=False,
    )
    state, _, started = shown.stdout.strip().partition(" ")
    if not started or state.startswith("Z"):
        return None
    return time.mktime(time.strptime(started.strip(), "%a %b %d %H:%M:%S %Y"))


def _make_private(folder: Path, top: Path, way_out: str) -> None:
    """Make `folder` and what is missing above it, 0700 from `top` down."""
    try:
        for path in (top, *reversed([above for above in folder.parents if top in above.parents]), folder):
            if path == top:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        culprit = error.filename or folder
        raise BackendUnavailable(f"folder {culprit} cannot be made ({error.strerror or error}); {way_out}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BackendUnavailable(f"folder {folder} cannot be written; {way_out}")
