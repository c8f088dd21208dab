"""User code that tries hard to see what is hidden from it. Runs as a shipped function and as a program.

Each attempt ends in reading the secret files, which begin with "secret". What worked is told by the attempt's name.
"""

import contextlib
import ctypes
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile

LIBC = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWUSER, NEWPID = 0x00020000, 0x10000000, 0x20000000
BIND, REC, REMOUNT, DETACH = 0x1000, 0x4000, 0x20, 2
MOUNT_SETATTR, RECURSIVE, EMPTY_PATH = 442, 0x8000, 0x1000
OPEN_BY_HANDLE_AT, PTRACE_SEIZE = 304, 0x4206  # the number of the system call is that of x86-64
SETTINGS = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sysrq-trigger",
    "/sys/kernel/profiling",
    "/sys/kernel/uevent_seqnum",
)


def pry(secrets, handles, private, outside, shared):
    """Try everything.

    `handles` are file handles of the secrets, `outside` is a process that is not the worker's, `shared` is a folder in
    which nothing may be changed.
    """
    tempfile.tempdir = os.getcwd()  # which goes with the worker
    attempts = {
        "direct": (readable, secrets),
        "by handle": (by_handles, handles),
        "by device": (by_devices,),
        "by roots of processes": (by_processes, secrets),
        "mounted": (mount_again, secrets),
        "unmounted": (unmount, secrets),
        "by own user namespace": (in_user_namespace, secrets, handles, shared),
        "by tools": (by_tools, secrets),
        "by leaving a chroot": (by_chroot, secrets),
        "changed": (change, shared),
        "changed when mounted again": (change_after_mounting, shared),
        "changed by tools": (change_by_tools, shared),
        "changed by roots of processes": (change_by_processes, shared),
        "replaced": (replace, shared),
        "settings": (change_settings,),
        "processes": (inspect, outside, os.getppid()),
        "raw sockets": (raw_socket,),
    }
    found = {name: in_a_process(*attempt) for name, attempt in attempts.items()}
    lines = content("/proc/self/status", 10_000).decode().splitlines()
    rights = {line.split()[0]: line.split()[1] for line in lines if line.startswith("Cap")}
    return {
        "found": {name: what for name, what in found.items() if what},
        "private": sorted(os.listdir(private)),
        "uid": os.geteuid(),
        "rights": rights,
        "pids": sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()),
    }


def readable(paths):
    return [path for path in paths if content(path).startswith(b"secret")]


def content(path, size=100):
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError:
        return b""


def can_open(path, flags):
    try:
        os.close(os.open(path, flags))
    except OSError:
        return False
    return True


def in_a_process(attempt, *arguments):
    """What an attempt finds that may fail in the middle, change its root, or lose its folder."""
    told, tell = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            found = attempt(*arguments)
        except Exception as error:  # noqa: BLE001 - told as what it is
            found = [f"{attempt.__name__} is wrong: {type(error).__name__} {error}"]
        os.write(tell, json.dumps(found).encode())
        os._exit(0)
    os.close(tell)
    with open(told, "rb") as file:
        found = json.loads(file.read() or b"[]")
    os.waitpid(pid, 0)
    return found


def above(path):
    while path != "/":
        path = os.path.dirname(path)
        yield path


def unmount(secrets):
    for secret in secrets:
        for folder in above(secret):
            for flags in (0, DETACH):
                LIBC.umount2(folder.encode(), flags)
    return readable(secrets)


def mount_again(secrets):
    place = tempfile.mkdtemp()
    for device in [f"/dev/{name}" for name in os.listdir("/dev")]:
        LIBC.mount(device.encode(), place.encode(), b"ext4", ctypes.c_ulong(1), None)
    return below_places(place, secrets)


def below_places(place, secrets):
    """Show the root once more without what lies over it, in three ways."""
    found = readable([place + secret for secret in secrets])
    LIBC.mount(b"/", place.encode(), None, ctypes.c_ulong(BIND), None)
    found += readable([place + secret for secret in secrets])
    for folder in {parent for secret in secrets for parent in above(secret)}:
        LIBC.mount(folder.encode(), place.encode(), None, ctypes.c_ulong(BIND), None)
        found += readable(
            [place + secret[len(folder.rstrip("/")) :] for secret in secrets if secret.startswith(folder)]
        )
    upper, work, over = tempfile.mkdtemp(), tempfile.mkdtemp(), tempfile.mkdtemp()
    options = f"lowerdir=/,upperdir={upper},workdir={work}".encode()
    LIBC.mount(b"overlay", over.encode(), b"overlay", ctypes.c_ulong(0), options)
    found += readable([over + secret for secret in secrets])
    tree = LIBC.syscall(428, -100, b"/", 1)  # open_tree, a clone that is not recursive
    if tree >= 0:
        found += readable([f"/proc/self/fd/{tree}{secret}" for secret in secrets])
    return found


def by_processes(secrets):
    found = []
    for pid in [name for name in os.listdir("/proc") if name.isdecimal()]:
        found += readable([f"/proc/{pid}/{way}{secret}" for way in ("root", "cwd") for secret in secrets])
        found += readable([f"/proc/{pid}/cwd/{os.path.basename(secret)}" for secret in secrets])
        with contextlib.suppress(OSError):
            namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
            if LIBC.setns(namespace, NEWNS) == 0:
                found += readable(secrets)
    return found


def by_handles(handles):
    found = []
    for kind, data in handles:
        raw = bytes.fromhex(data)
        handle = ctypes.create_string_buffer(
            len(raw).to_bytes(4, sys.byteorder) + kind.to_bytes(4, sys.byteorder) + raw
        )
        for mount in ("/", "/tmp", ".", "/dev/shm"):
            with contextlib.suppress(OSError):
                where = os.open(mount, os.O_RDONLY)
                file = LIBC.syscall(OPEN_BY_HANDLE_AT, where, handle, os.O_RDONLY)
                os.close(where)
                if file >= 0 and os.read(file, 6) == b"secret":
                    found.append(mount)
    return found


def by_devices():
    found = []
    for folder, _, names in os.walk("/dev"):
        for path in [f"{folder}/{name}" for name in names]:
            with contextlib.suppress(OSError):
                if stat.S_ISBLK(os.stat(path).st_mode) and can_open(path, os.O_RDONLY):
                    found.append(path)
    own, place = f"{tempfile.mkdtemp()}/disk", os.stat("/").st_dev
    with contextlib.suppress(OSError):
        os.mknod(own, 0o600 | stat.S_IFBLK, place)
        if can_open(own, os.O_RDONLY):
            found.append(own)
    found += [path for path in ("/dev/mem", "/proc/kcore") if can_open(path, os.O_RDONLY)]
    for path in [f"/dev/{name}" for name in os.listdir("/dev")]:
        with contextlib.suppress(OSError):  # what was taken from its place might be used at another
            if stat.S_ISBLK(os.lstat(path).st_mode):
                os.link(path, f"{own}-link")
                found.append(f"{own}-link")
    return found


def change(shared):
    """What could be changed in a folder."""
    found = []
    for folder, _, names in os.walk(shared):
        tries = {
            "made": lambda at=folder: open(f"{at}/made", "w").close(),
            "linked": lambda at=folder: os.symlink("/", f"{at}/linked"),
            "allowed": lambda at=folder: os.chmod(at, 0o777),
            **{f"wrote {name}": lambda at=f"{folder}/{name}": open(at, "a").close() for name in names},
            **{f"removed {name}": lambda at=f"{folder}/{name}": os.unlink(at) for name in names},
        }
        for name, attempt in tries.items():
            with contextlib.suppress(OSError):
                attempt()
                found.append(f"{name} in {folder}")
    return found


def change_after_mounting(shared):
    """Take off the mount that forbids it, allow it again, or mount the folder elsewhere."""
    place = tempfile.mkdtemp()
    for folder in (shared, *above(shared)):
        LIBC.mount(None, folder.encode(), None, ctypes.c_ulong(REMOUNT | BIND), None)
        LIBC.mount(None, folder.encode(), None, ctypes.c_ulong(REMOUNT), None)
        LIBC.syscall(MOUNT_SETATTR, -100, folder.encode(), RECURSIVE, (ctypes.c_uint64 * 4)(0, 1, 0, 0), 32)
    found = change(shared)
    for flags in (BIND, BIND | REC):
        for folder in (shared, *above(shared)):
            LIBC.mount(folder.encode(), place.encode(), None, ctypes.c_ulong(flags), None)
            LIBC.mount(None, place.encode(), None, ctypes.c_ulong(REMOUNT | BIND), None)
            seen = place + shared[len(folder.rstrip("/")) :]
            found += change(seen) if os.path.exists(f"{seen}/code.py") else []
            LIBC.umount2(place.encode(), DETACH)
    tree = LIBC.syscall(428, -100, shared.encode(), 1)  # open_tree, a clone
    if tree >= 0:
        LIBC.syscall(MOUNT_SETATTR, tree, b"", EMPTY_PATH, (ctypes.c_uint64 * 4)(0, 1, 0, 0), 32)
        found += change(f"/proc/self/fd/{tree}")
    for folder in (shared, *above(shared)):
        LIBC.umount2(folder.encode(), DETACH)
    return found + change(shared)


def change_by_tools(shared):
    for command in (
        f"mount -o remount,rw,bind {shared}",
        f"umount -l {shared}",
        f"unshare -Urm sh -c 'mount -o remount,rw,bind {shared}; umount -l {shared}; touch {shared}/by-tools'",
    ):
        subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    return [name for name in os.listdir(shared) if name == "by-tools"] + change(shared)


def change_by_processes(shared):
    places = [f"/proc/{name}/root{shared}" for name in os.listdir("/proc") if name.isdecimal()]
    return [what for place in places for what in change(place)]


def replace(shared):
    """Put another folder in its place, or in the place of one above it in the scene."""
    found = []
    for folder in (shared, os.path.dirname(shared)):
        with contextlib.suppress(OSError):
            os.rename(folder, f"{folder}-moved")
            os.rename(f"{folder}-moved", folder)
            found.append(folder)
    return found


def in_user_namespace(secrets, handles, shared):
    """With all rights in new namespaces."""
    user, group = os.geteuid(), os.getegid()
    if LIBC.unshare(NEWUSER | NEWNS | NEWPID):
        return []
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    LIBC.mount(None, b"/", None, ctypes.c_ulong(REC | (1 << 18)), None)
    changed = change_after_mounting(shared) + replace(shared)
    unmount(secrets)
    found = readable(secrets)
    found += below_places(tempfile.mkdtemp(), secrets) + by_handles(handles) + by_processes(secrets)
    if os.path.isdir("/proc/1/root/tmp") and os.path.exists("/proc/1/environ") and content("/proc/1/environ"):
        found.append("/proc/1/environ")
    return found + changed + [path for path in SETTINGS if can_open(path, os.O_WRONLY)]


def by_tools(secrets):
    found = []
    for secret in secrets:
        for folder in above(secret):
            for command in (
                f"umount {folder}; umount -l {folder}; cat {secret}",
                f"nsenter -t 1 -m cat {secret}",
                f"nsenter -a -t 1 cat {secret}",
                f"unshare -Urm sh -c 'umount {folder}; umount -l {folder}; cat {secret}'",
                f"unshare -m umount {folder}; cat {secret}",
            ):
                done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
                if done.stdout.startswith(b"secret"):
                    found.append(command)
    return found


def by_chroot(secrets):
    inside = tempfile.mkdtemp()
    root = os.open(".", os.O_RDONLY)
    try:
        os.chroot(inside)
    except OSError:
        return []
    os.fchdir(root)
    for _ in range(30):
        os.chdir("..")
    os.chroot(".")
    return readable(secrets)


def change_settings():
    found = [path for path in SETTINGS if can_open(path, os.O_WRONLY)]
    for folder, _, _ in os.walk("/sys/fs/cgroup"):
        with contextlib.suppress(OSError):
            os.mkdir(f"{folder}/of-user-code")
            os.rmdir(f"{folder}/of-user-code")
            found.append(folder)
    return found


def inspect(outside, init):
    """Processes that are not the worker's, and the worker's own init."""
    found = []
    with contextlib.suppress(OSError):
        os.kill(outside, 9)
        found.append("killed one outside")
    for pid in [name for name in os.listdir("/proc") if name.isdecimal()]:
        if b"OUTSIDE=" in content(f"/proc/{pid}/environ"):
            found.append(f"saw {pid}, outside")
    if init == 1:
        found += [name for name in ("environ", "mem", "maps") if can_open(f"/proc/1/{name}", os.O_RDONLY)]
        found += [name for name in ("ptrace",) if LIBC.ptrace(PTRACE_SEIZE, 1, None, None) == 0]
    return found


def raw_socket():
    with contextlib.suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3):
        return ["listens to the network"]
    return []


if __name__ == "__main__":
    print(json.dumps(pry(*json.loads(sys.argv[1]))), flush=True)
