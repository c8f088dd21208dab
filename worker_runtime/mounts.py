"""What user code sees of the file system: covers over folders, devices and kernel settings, in a mount namespace.

Nothing of this is seen outside. The covers hold because user code lacks the rights to take them off (`privileges`), and
because the kernel locks them together in any mount namespace that a user namespace of its own would give it.
"""

import contextlib
import ctypes
import errno
import os
import re
import stat
from dataclasses import dataclass

from worker_runtime import mount_table
from worker_runtime.system import check, libc

_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 0x20, 0x1000, 0x4000, 1 << 18
_BARE = _NOSUID | _NODEV | _NOEXEC

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
    """What is hidden. `own` is the one folder that stays in `private`; both are real paths.

    `strict`: services of this machine that would run a program outside, if asked, cannot be reached.
    """

    hidden: tuple[str, ...] = ()
    private: str | None = None
    own: str = ""
    strict: bool = False


def furnish(view: View) -> None:
    """As first process of the namespaces: mount a /proc that shows them and cover what user code must not see.

    Hidden folders that do not exist are skipped; those that can be seen at other paths, too, are covered there as well.
    For root, whom file permissions do not stop, the kernel's settings become read-only, and raw devices and others'
    terminals are covered, too.

    Raises:
        OSError: the kernel does not allow it.
    """
    _mount(None, "/", None, _REC | _PRIVATE)
    _mount("proc", "/proc", "proc", _BARE)
    hidden = [os.path.realpath(folder) for folder in view.hidden]
    private = [view.private] if view.private is not None else []
    mounted = mount_table.read()
    elsewhere = [path for folder in (*hidden, *private) for path in mount_table.other_places(folder, mounted)]
    if view.private is not None:
        _cover_but(view.private, view.own)
    for folder in (*hidden, *elsewhere):
        if os.path.isdir(folder):
            _cover(folder)
    if view.strict:
        for path in (*_SERVICES, *(f"/run/user/{os.geteuid()}/{name}" for name in _SERVICES_OF_USER)):
            if os.path.exists(path):
                _mount(_NO_DEVICE, os.path.realpath(path), None, _BIND)
    if os.geteuid() == 0:
        _guard_settings()
        _guard_devices()


def _cover(folder: str) -> None:
    _mount("tmpfs", folder, "tmpfs", _RDONLY | _BARE, "size=4k,mode=555")


def _cover_but(folder: str, kept: str) -> None:
    """Cover a folder with one that holds nothing but a folder that was in it."""
    there = os.open(kept, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _mount("tmpfs", folder, "tmpfs", _BARE, "size=64k,mode=555")
        os.makedirs(kept, mode=0o755)
        _mount(f"/proc/self/fd/{there}", kept, None, _BIND | _REC)
        _mount(None, folder, None, _REMOUNT | _BIND | _RDONLY | _BARE)
    finally:
        os.close(there)


def _guard_settings() -> None:
    for path in _KERNEL_SETTINGS:
        if os.path.exists(path):
            _mount(path, path, None, _BIND)
            _mount(None, path, None, _REMOUNT | _BIND | _RDONLY | _BARE)
    for path in _KERNEL_TRACES:
        if os.path.isdir(path):
            _cover(path)
    for mount in mount_table.read():
        if not mount_table.within(mount.path, "/sys"):
            continue
        try:
            _mount(None, mount.path, None, _REMOUNT | _BIND | _RDONLY | mount.flags)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINVAL):  # else another mount lies over it
                raise


def _guard_devices() -> None:
    if os.path.isdir("/dev/pts"):
        _mount("devpts", "/dev/pts", "devpts", _NOSUID | _NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    for path in _raw_devices():
        with contextlib.suppress(FileNotFoundError):  # it was just unplugged
            _mount(_NO_DEVICE, path, None, _BIND)


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


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [os.fsencode(text) if text is not None else None for text in (source, target, kind, data)]
    check(libc().mount(*texts[:3], ctypes.c_ulong(flags), texts[3]), f"mount {target}")
