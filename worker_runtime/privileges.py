"""What user code in namespaces may not do, whoever it is: take off what hides folders from it, or look past it.

root keeps what a container gives it, without raw sockets (they would hear the keys that others send on this machine's
own network) and device nodes. So packages can be installed, files be given away and users be changed, but not: mounting
(SYS_ADMIN), entering other processes' namespaces or memory (SYS_ADMIN, SYS_PTRACE), opening files by their handles
(DAC_READ_SEARCH), loading code into the kernel (SYS_MODULE, BPF), reading devices past the kernel (SYS_RAWIO, MKNOD).
Whatever capabilities future kernels add are gone as well.

Others have no capabilities in their namespaces once a program is started; here they are kept from getting any by the
program's file.
"""

import ctypes
import os

from worker_runtime.system import check, libc

KEPT = {
    "CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8,
    "NET_BIND_SERVICE": 10, "IPC_LOCK": 14, "SYS_CHROOT": 18, "AUDIT_WRITE": 29, "SETFCAP": 31,
}  # fmt: skip
"""The capabilities that root keeps, with the kernel's numbers."""

_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 23, 24, 38, 47
_PR_CAP_AMBIENT_IS_SET, _PR_CAP_AMBIENT_CLEAR_ALL = 1, 4
_CAPABILITY_VERSION = 0x20080522
_MOST = 64  # capabilities that fit into the kernel's sets


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Half(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32),
    )  # fmt: skip


def bound() -> None:
    """Bound what programs that this process or its children start may ever do; this process keeps its own rights.

    Raises:
        OSError: the kernel does not allow it.
    """
    if os.geteuid() != 0:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        return
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _inherit_nothing()
    kept = set(KEPT.values())
    for number in range(_MOST):
        if number not in kept and libc().prctl(_PR_CAPBSET_READ, ctypes.c_ulong(number)) == 1:
            _prctl(_PR_CAPBSET_DROP, number)


def keep_what_a_program_would() -> None:
    """Give up the rights that this process would lose if it started a program.

    Raises:
        OSError: the kernel does not allow it.
    """
    option = (_PR_CAPBSET_READ,) if os.geteuid() == 0 else (_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_IS_SET)
    unused = [0] * (4 - len(option))
    kept = sum(
        1 << number
        for number in range(_MOST)
        if libc().prctl(option[0], *map(ctypes.c_ulong, (*option[1:], number, *unused))) == 1
    )
    header, halves = _capabilities()
    for place, half in enumerate(halves):
        half.permitted &= kept >> 32 * place & 0xFFFFFFFF
        half.effective = half.permitted
    check(libc().capset(ctypes.byref(header), halves), "capset")


def _inherit_nothing() -> None:
    header, halves = _capabilities()
    for half in halves:
        half.inheritable = 0
    check(libc().capset(ctypes.byref(header), halves), "capset")


def _capabilities() -> tuple[_Header, "ctypes.Array[_Half]"]:
    header, halves = _Header(_CAPABILITY_VERSION, 0), (_Half * 2)()
    check(libc().capget(ctypes.byref(header), halves), "capget")
    return header, halves


def _prctl(option: int, argument: int) -> None:
    unused = [ctypes.c_ulong(0)] * 3
    check(libc().prctl(option, ctypes.c_ulong(argument), *unused), f"prctl {option}")
