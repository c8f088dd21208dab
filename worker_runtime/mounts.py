"""What user code sees of the file system: covers over files, devices and kernel settings, in a mount namespace.

Nothing of this is seen outside. The covers hold because user code lacks the rights to take them off (`privileges`), and
because the kernel locks them together in any mount namespace that a user namespace of its own would give it.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

from worker_runtime import mount_table, new_root
from worker_runtime.mount_table import Mount
from worker_runtime.system import BIND, NODEV, NOEXEC, NOSUID, PRIVATE, RDONLY, REC, REMOUNT, held, mount

_BARE = NOSUID | NODEV | NOEXEC

_NO_DEVICE = "/dev/null"
_RAW_ACCESS = re.compile(
    r"/dev/(mem|kmem|port|iommu|(sg|ng|nvme|mtd|ubi|raw|megaraid|mpt|aac|hpsa)[-_\d].*|(bsg|raw|vfio|mapper)/.*"
    r"|uinput|input/.*|vcs.*)"
)
"""Character devices that lead past all files to what is on a disk or in memory, as block devices all do, or to what
somebody types and sees."""
_NOT_DEVICES = ("shm", "pts", "mqueue", "hugepages")
_KERNEL_SETTINGS = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")
_KERNEL_TRACES = ("/sys/kernel/debug", "/sys/kernel/tracing")
_SERVICES = (
    "/run/systemd/private", "/run/dbus/system_bus_socket", "/run/docker.sock", "/run/containerd/containerd.sock",
    "/run/podman/podman.sock", "/run/crio/crio.sock", "/run/snapd.socket", "/run/snapd-snap.socket",
)  # fmt: skip
_SERVICES_OF_USER = ("bus", "systemd/private", "docker.sock", "podman/podman.sock")


@dataclass(frozen=True, slots=True)
class View:
    """What is hidden (files and folders), and which folders can be read only. `own` stays as it is wherever it lies.

    Of `private`, user code sees no more than `own` and what is in it of `readonly`. Both are real paths.

    `strict`: services of this machine that would run a program outside, if asked, cannot be reached; and the folders
    above what is private or can be read only cannot be renamed, to put others in their place.

    `volume`: the folder that is seen at `new_root.VOLUME` as well, wherever it lies and whatever is hidden.
    """

    hidden: tuple[str, ...] = ()
    private: str | None = None
    own: str = ""
    strict: bool = False
    readonly: tuple[str, ...] = ()
    volume: str | None = None


def furnish(view: View) -> None:
    """As first process of the namespaces: mount a /proc that shows them and cover what user code must not see.

    What does not exist is skipped; what can be seen at other paths, too, is covered, or read only, there as well. A
    hidden file is hidden until another is put in its place outside. For root, whom file permissions do not stop, the
    kernel's settings become read-only, and raw devices and others' terminals are covered, too.

    Raises:
        OSError: the kernel does not allow it.
    """
    mount(None, "/", None, REC | PRIVATE)
    mount("proc", "/proc", "proc", _BARE)
    if view.volume is None:
        _restrict(view)
        return
    with held(view.volume) as volume:  # from now on its own path may be covered
        _restrict(view)
        new_root.show(volume, view.own)


def _restrict(view: View) -> None:
    hidden = [os.path.realpath(path) for path in view.hidden]
    readonly = [os.path.realpath(folder) for folder in view.readonly]
    private = [view.private] if view.private is not None else []
    mounted = mount_table.read()
    covered = [*hidden, *_elsewhere([*hidden, *private], mounted)]
    unchanged = mount_table.outermost([*readonly, *_elsewhere(readonly, mounted)])
    if view.strict:
        _fix_above([*private, *readonly], mounted)
    for folder in private:
        _cover_but(folder, [view.own, *(path for path in readonly if _beside(path, view.own, folder))])
    for path in covered:
        _cover(path)
    for folder in unchanged:
        _make_read_only(folder, view.own)
    if view.strict:
        for path in (*_SERVICES, *(f"/run/user/{os.geteuid()}/{name}" for name in _SERVICES_OF_USER)):
            _cover(os.path.realpath(path))
    if os.geteuid() == 0:
        _guard_settings()
        _guard_devices()


def _elsewhere(paths: Iterable[str], mounted: list[Mount]) -> list[str]:
    return [place for path in paths for place in mount_table.other_places(path, mounted)]


def _beside(path: str, own: str, folder: str) -> bool:
    """Whether a folder lies in another and does not show what is beside `own`."""
    return os.path.isdir(path) and mount_table.within(path, folder) and not mount_table.within(own, path)


def _fix_above(folders: Iterable[str], mounted: list[Mount]) -> None:
    """Make the folders above some into mount points, which show what they showed and cannot be renamed."""
    above = {str(path) for folder in folders for path in PurePath(folder).parents}
    for path in sorted(above - {each.path for each in mounted}):
        if os.path.isdir(path):
            mount(path, path, None, BIND | REC)


def _cover(path: str) -> None:
    if os.path.isdir(path):
        mount("tmpfs", path, "tmpfs", RDONLY | _BARE, "size=4k,mode=555")
    elif os.path.exists(path):
        mount(_NO_DEVICE, path, None, BIND)


def _cover_but(folder: str, kept: Iterable[str]) -> None:
    """Cover a folder with one that holds nothing but some folders that were in it."""
    with contextlib.ExitStack() as stack:
        places = [(path, stack.enter_context(held(path))) for path in kept]
        mount("tmpfs", folder, "tmpfs", _BARE, "size=64k,mode=555")
        for path, there in places:
            os.makedirs(path, mode=0o755, exist_ok=True)
            mount(there, path, None, BIND | REC)
        mount(None, folder, None, REMOUNT | BIND | RDONLY | _BARE)


def _make_read_only(folder: str, own: str) -> None:
    """Mount a folder over itself, so that nothing in it can be changed but in `own`."""
    if not os.path.isdir(folder):
        return
    with contextlib.ExitStack() as stack:
        there = stack.enter_context(held(own)) if mount_table.within(own, folder) else None
        mount(folder, folder, None, BIND | REC)
        _forbid_writing(folder)
        if there is not None:
            mount(there, own, None, BIND | REC)


def _forbid_writing(folder: str) -> None:
    """Make the mounts in a folder read-only, the topmost at each path."""
    for there in {each.path: each for each in mount_table.read() if mount_table.within(each.path, folder)}.values():
        try:
            mount(None, there.path, None, REMOUNT | BIND | RDONLY | there.flags)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINVAL):  # else another mount lies over it
                raise


def _guard_settings() -> None:
    for path in _KERNEL_SETTINGS:
        if os.path.exists(path):
            mount(path, path, None, BIND)
            mount(None, path, None, REMOUNT | BIND | RDONLY | _BARE)
    for path in _KERNEL_TRACES:
        _cover(path)
    _forbid_writing("/sys")


def _guard_devices() -> None:
    if os.path.isdir("/dev/pts"):
        mount("devpts", "/dev/pts", "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    for path in _raw_devices():
        with contextlib.suppress(FileNotFoundError):  # it was just unplugged
            mount(_NO_DEVICE, path, None, BIND)


def _raw_devices() -> list[str]:
    found = list[str]()
    for folder, folders, names in os.walk("/dev"):
        if folder == "/dev":
            folders[:] = [name for name in folders if name not in _NOT_DEVICES]
        for path in (f"{folder}/{name}" for name in names):
            with contextlib.suppress(FileNotFoundError):
                mode = os.lstat(path).st_mode
                if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and _RAW_ACCESS.fullmatch(path)):
                    found.append(path)
    return found
