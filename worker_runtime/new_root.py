"""A root of the worker's own, which has what the machine's root has and /runpod-volume. Nothing is made on the machine.

    mount a tmpfs ▶ show each entry of / in it, and the volume ▶ it becomes the root ▶ the old root is let go

What is mounted below the entries, covers over what is hidden among it, comes along.
"""

import contextlib
import os
import stat

from worker_runtime.system import BIND, NODEV, NOSUID, PRIVATE, REC, UNBINDABLE, check, libc, mount

VOLUME = "/runpod-volume"
"""Where workers see their network volume, as on Runpod."""

_DETACH = 2
_LIMITS = "size=64m,mode=755"  # of what user code makes directly in /


def show(volume: str, place: str) -> None:
    """As first process of a mount namespace: let the folder `volume` be seen at VOLUME, too.

    `place` is a folder over which something may be mounted for the moment.

    Raises:
        OSError: the kernel does not allow it.
    """
    if os.path.isdir(VOLUME) and not os.path.islink(VOLUME):
        mount(volume, VOLUME, None, BIND)
        return
    mount("tmpfs", place, "tmpfs", NOSUID | NODEV, _LIMITS)
    mount(None, place, None, UNBINDABLE)  # so that it is not seen in itself, and what it lies over is
    for entry in os.scandir("/"):
        if f"/{entry.name}" != VOLUME:
            with contextlib.suppress(FileNotFoundError):  # it has just gone
                _copy(entry.path, place + entry.path)
    os.mkdir(place + VOLUME)
    mount(volume, place + VOLUME, None, BIND)
    mount(None, place, None, PRIVATE)
    _enter(place)


def _copy(source: str, target: str) -> None:
    mode = os.lstat(source).st_mode
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(source), target)
        return
    if stat.S_ISDIR(mode):
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    mount(source, target, None, BIND | REC)


def _enter(root: str) -> None:
    os.chdir(root)
    check(libc().pivot_root(b".", b"."), f"pivot_root {root}")  # the old one is now mounted over it, at the same place
    check(libc().umount2(b".", _DETACH), "umount the old root")
    os.chdir("/")
