"""What is mounted where, as the kernel tells this process; and the other paths at which a folder can be seen."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_FLAGS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 0x400, "nodiratime": 0x800, "relatime": 1 << 21}


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system `device`, of which the folder `root` is seen at `path`; `flags` as in mount(2)."""

    device: str
    root: str
    path: str
    flags: int


def read(text: str | None = None) -> list[Mount]:
    """The mounts of this process, later ones lying over earlier ones; or those of `text`, a mountinfo file."""
    if text is None:
        text = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    found = list[Mount]()
    for line in text.splitlines():
        _, _, device, root, path, options = line.split(" ")[:6]
        flags = sum(_FLAGS.get(name, 0) for name in options.split(","))
        found.append(Mount(device, _plain(root), _plain(path), flags))
    return found


def within(path: str, folder: str) -> bool:
    """Whether a path is a folder itself or in it; both absolute, without links."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def outermost(paths: Iterable[str]) -> list[str]:
    """Those of some paths that are in none of the others, sorted and each once."""
    found = list[str]()
    for path in sorted(set(paths), key=lambda path: path.split("/")):
        if not found or not within(path, found[-1]):
            found.append(path)
    return found


def other_places(folder: str, mounts: Iterable[Mount]) -> list[str]:
    """The paths outside of `folder` (a real path, or a file's) at which mounts show it, or a part of it.

    Some may be covered.
    """
    mounts = list(mounts)
    holding = [mount for mount in mounts if within(folder, mount.path)]
    if not holding:
        return []
    longest = max(len(mount.path) for mount in holding)
    own = [mount for mount in holding if len(mount.path) == longest][-1]
    inside = _moved(folder, own.path, own.root)
    found = dict[str, None]()
    for mount in mounts:
        if mount.device != own.device:
            continue
        if within(inside, mount.root):
            found[_moved(inside, mount.root, mount.path)] = None
        elif within(mount.root, inside):
            found[mount.path] = None
    return [path for path in found if not within(path, folder)]


def _moved(path: str, old: str, new: str) -> str:
    """A path in the folder `old`, as it is in `new`."""
    return (new.rstrip("/") + "/" + path[len(old) :].lstrip("/")).rstrip("/") or "/"


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
