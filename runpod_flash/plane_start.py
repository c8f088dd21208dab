"""Starts the embedded control plane as a program of its own, with little that must be imported for that.

`begin` does so before it is asked for: a program's first call has much to import, and the control plane too.
"""

import contextlib
import fcntl
import os
import site
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runpod_flash import lazy, release
from runpod_flash.errors import BackendUnavailable, FlashError
from runpod_flash.settings import Settings, load
from runpod_flash.state_folder import PlaneRecord, StateFolder, is_locked

_LOG_LIMIT = 5_000_000  # bytes after which the log begins anew; one old one is kept
HOLDING = "--holding"
"""Option of the control plane: the descriptor of a lock, to be closed as soon as it holds that of its state folder."""
OF_CONTENT = "--content"
"""Option of the control plane: the content that the package has to have, else it ends at once."""

_SESSION = "runpod_flash.session"

_NAMES = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "PYENV_ROOT",
    "LD_LIBRARY_PATH",
    "REQUESTS_CA_BUNDLE",
    "CONTAINER_HOST",
    "CONTAINERS_CONF",
)
_PREFIXES = ("LC_", "XDG_", "SSL_", "CUDA", "NVIDIA_", "UV_", "DOCKER_", "FLASH_")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_NOT_PASSED = ("FLASH_API_KEY", "FLASH_TARGET")  # of the client, for other platforms

# Run by a Python of its own: so the control plane is nobody's child, outlives this program and leaves it no zombie.
_STARTER = (
    "import os, sys\n"
    "pid = os.fork()\n"
    "if pid:\n"
    "    print(pid, flush=True)\n"
    "    os._exit(0)\n"
    "os.dup2(2, 1)\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n"
)


def session() -> Any:
    """The session that calls go through now. Before its module is imported, the control plane is started."""
    if _SESSION not in sys.modules:
        with contextlib.suppress(FlashError, OSError):  # whoever asks for the control plane then hears why
            begin(load())
    return lazy.load(_SESSION).current()


def begin(settings: Settings) -> None:
    """Start the embedded control plane where it is the target and none runs, and do not wait for it.

    It holds the start lock until it has its own, so that nobody starts another meanwhile. Does nothing where somebody
    else is starting one.

    Raises:
        BackendUnavailable, OSError: it could not be started.
    """
    if settings.target != "local":
        return
    state = StateFolder(settings.home, release.content_hash(), settings.runtime_home)
    if running(state) is not None:
        return
    state.prepare()
    with state.start_lock.open("ab") as lock, contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        env = plane_environment(settings.environ, state.home, _folders_to_name())
        if running(state) is None and not is_locked(state.plane_lock):
            spawn(state, env, [*default_command(state), HOLDING, str(lock.fileno())], lock=lock.fileno())


def running(state: StateFolder) -> PlaneRecord | None:
    """The record of this content's control plane if its process lives."""
    record = state.read_record()
    return record if record is not None and record.alive else None


def default_command(state: StateFolder) -> list[str]:
    """What starts the control plane. Raises BackendUnavailable where this program has no interpreter for it."""
    if not sys.executable:
        raise BackendUnavailable(
            "this program does not know its Python interpreter (sys.executable is empty); run it with python"
        )
    return [sys.executable, "-P", "-m", "runpod_flash.control_plane", OF_CONTENT, state.content]


def plane_environment(environ: Mapping[str, str], home: Path, import_folders: Sequence[Path] = ()) -> dict[str, str]:
    """The environment of a started control plane: an allow-list, FLASH_HOME, and PYTHONPATH for `import_folders`."""
    env = {
        name: value
        for name, value in environ.items()
        if (name in _NAMES or name.startswith(_PREFIXES) or name.lower() in _PROXIES) and name not in _NOT_PASSED
    }
    env["FLASH_HOME"] = str(home)
    if import_folders:
        env["PYTHONPATH"] = os.pathsep.join(map(str, import_folders))
    return env


def program(
    state: StateFolder, environ: Mapping[str, str], command: Sequence[str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """The command line that runs the control plane of a state folder, and its environment.

    `environ` and `command` are those of `ensure`.

    Raises:
        BackendUnavailable: this program has no interpreter for it, or is of another version than its files by now.
    """
    if command is None:
        command = default_command(state)
        if release.hash_now() != state.content:
            raise BackendUnavailable(
                "the control plane of this program does not run, and the files of runpod_flash have changed since it "
                "imported them, so that they would start another version; start this program again"
            )
    return list(command), plane_environment(environ, state.home, _folders_to_name())


def spawn(
    state: StateFolder, env: Mapping[str, str], command: Sequence[str], *, lock: int | None = None
) -> tuple[int, int]:
    """Start the program; returns its process number and where its part of the log begins.

    `lock` is a descriptor that it gets, whose number `command` says.

    Raises:
        BackendUnavailable: it could not be started.
    """
    try:
        if state.log.exists() and state.log.stat().st_size > _LOG_LIMIT:
            state.log.replace(state.log.with_suffix(".log.1"))
        descriptor = os.open(state.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with open(descriptor, "ab") as log:
            log_start = log.seek(0, os.SEEK_END)
            starter = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _STARTER, *command],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, cwd=state.home,
                start_new_session=True, check=True, pass_fds=() if lock is None else (lock,),
                env=env,
            )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise BackendUnavailable(f"the control plane could not be started: {error}") from error
    return int(starter.stdout), log_start


def _folders_to_name() -> list[Path]:
    """The folders of our packages that a fresh interpreter does not find by itself."""
    known = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    known.add(Path(site.getusersitepackages()).resolve())
    return [folder for folder in release.package_folders() if folder.resolve() not in known]
