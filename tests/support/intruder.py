"""Tries to read what is not its own. Runs alone, with the standard library: as another user, and inside a worker."""

import ctypes
import json
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Tries = dict[str, Any]
"""What each attempt has brought up; None where the system refused it."""

MARK = "left-by-the-intruder"
"""The name of the files that it leaves where it can."""

_DETACH, _REMOUNT, _BIND = 2, 0x20, 0x1000
_OF_A_PROCESS = ("environ", "cmdline")


def as_another_user(home: str, plane: str, record: Mapping[str, Any]) -> Tries:
    """All that a stranger on this machine can try against a control plane."""
    process = Path(f"/proc/{record['pid']}")
    attempts: dict[str, Callable[[], Any]] = {
        **{f"look into {name or 'home'}": lambda name=name: contents(Path(home, name)) for name in _FOLDERS},
        **{f"read {name}": lambda name=name: _text(Path(plane, name)) for name in _FILES},
        **{f"connect to {name}": lambda name=name: _connect(record[name]) for name in _SOCKETS},
        "its environment": lambda: _text(process / "environ"),
        "its memory": lambda: (process / "mem").open("rb").close() or True,
        "a signal": lambda: os.kill(record["pid"], 0) or True,
    }
    return {name: _tried(attempt) for name, attempt in attempts.items()}


def in_a_worker(
    home: str, record: Mapping[str, Any], requests: Mapping[str, Sequence[Any]], secret: str, programs: Sequence[str]
) -> Tries:
    """All that user code can try: against files, sockets, processes, and over HTTP with the worker's own key.

    `requests` are those that it makes: method, path and body, if any; an answer is its status and its text. `secret` is
    a file that it shall not read, `programs` are folders that it shall not change.
    """
    attempts: dict[str, Callable[[], Any]] = {
        "reachable": lambda: list(_reachable(home, record)),
        "environment": lambda: dict(os.environ),
        "of processes": lambda: list(_of_processes(home)),
        "around": lambda: list(_around(home)),
        "work of others": lambda: _work_of_others(home),
        "secret": lambda: _text(Path(secret)),
        "left": lambda: _left(home, programs),
        "moved": lambda: _moved(home),
        **{name: lambda request=request: _ask(*request) for name, request in requests.items()},
        # last: these take away what may protect from the others
        "uncovered": lambda: list(_uncovered(home, record, secret)),
        "left after that": lambda: _left_after_remounting(home, programs),
    }
    return {name: _tried(attempt) for name, attempt in attempts.items()}


_FOLDERS = ("", "planes", "blobs", "work", "environments")
_FILES = ("key", "flash.db", "flash.db-wal", "record.json", "plane.log")
_SOCKETS = ("socket", "worker_socket")


def contents(folder: Path) -> list[str]:
    """The names of all that is below a folder, and what can be read of it. Raises OSError: it cannot be looked into."""
    found: list[str] = []
    for path in sorted(folder.iterdir()):
        found.append(str(path))
        if path.is_dir() and not path.is_symlink():
            found += _tried(lambda path=path: contents(path)) or []
        elif path.is_file():
            found.append(_tried(lambda path=path: _text(path)) or "")
    return found


def _tried(attempt: Callable[[], Any]) -> Any:
    try:
        return attempt()
    except OSError:
        return None


def _text(path: Path) -> str:
    return path.read_bytes().decode("latin-1")


def _connect(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        probe.connect(path)
        return True


def _reachable(home: str, record: Mapping[str, Any]) -> Iterator[str]:
    for name in ("planes", "blobs"):
        yield from _tried(lambda name=name: contents(Path(home, name))) or []
    for name in _SOCKETS:
        if _tried(lambda name=name: _connect(record[name])):
            yield f"connected to {record[name]}"


def _uncovered(home: str, record: Mapping[str, Any], secret: str) -> Iterator[str]:
    """As root: what covers files and folders is unmounted, as often as it takes."""
    libc = ctypes.CDLL(None, use_errno=True)
    for path in (f"{home}/planes", f"{home}/blobs", f"{home}/work", home, os.path.dirname(record["socket"]), secret):
        while libc.umount2(os.fsencode(path), _DETACH) == 0:
            pass
    yield from _reachable(home, record)
    yield from filter(None, [_tried(lambda: _text(Path(secret)))])


def _around(home: str) -> Iterator[str]:
    """The state by the roots of other processes, whose mounts may be others."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() or process.name == "self":
            for way in ("root", "root/..", "cwd/../.."):
                folder = process / way / home.lstrip("/") / "planes"
                yield from _tried(lambda folder=folder: contents(folder)) or []


def _of_processes(home: str) -> Iterator[str]:
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            for name in _OF_A_PROCESS:
                yield _tried(lambda path=process / name: _text(path)) or ""


def _work_of_others(home: str) -> list[str]:
    own = os.environ["RUNPOD_POD_ID"]
    folders = [path for path in Path(home, "work").glob("*/*") if path.name != own]
    return [text for folder in folders for text in (str(folder), *(_tried(lambda at=folder: contents(at)) or ()))]


def _left(home: str, programs: Sequence[str]) -> list[str]:
    """Files that it has left: where the code is that others run, and in the work of others."""
    own = os.environ["RUNPOD_POD_ID"]
    below = [path for depth in ("*", "*/*", "environments/*/*") for path in Path(home).glob(depth)]
    folders = [folder for folder in (Path(home), *below, *map(Path, programs)) if own not in folder.parts]
    files = [folder / MARK for folder in folders if folder.is_dir()]
    return [str(file) for file in files if _tried(lambda file=file: file.write_text("x"))]


def _left_after_remounting(home: str, programs: Sequence[str]) -> list[str]:
    libc = ctypes.CDLL(None, use_errno=True)
    for folder in (home, f"{home}/environments", f"{home}/bundles", *programs):
        libc.mount(None, os.fsencode(folder), None, ctypes.c_ulong(_REMOUNT | _BIND), None)
    return _left(home, programs)


def _moved(home: str) -> list[str]:
    """Folders that it could rename, and so put its own in their place. They are put back."""
    found: list[str] = []
    for folder in (f"{home}/environments", home, os.path.dirname(home)):
        if _tried(lambda folder=folder: os.rename(folder, f"{folder}-moved") or True):
            os.rename(f"{folder}-moved", folder)
            found.append(folder)
    return found


def _ask(method: str, path: str, body: object = None) -> tuple[int, str]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": os.environ["FLASH_API_KEY"], "Content-Type": "application/json"}
    request = urllib.request.Request(os.environ["FLASH_TARGET"] + path, data, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


if __name__ == "__main__":
    print(json.dumps(as_another_user(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))))
