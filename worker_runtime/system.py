"""The C library, for system calls that Python has no function for."""

import ctypes
import os


def libc() -> ctypes.CDLL:
    """The C library of this process; its calls leave errno for `check`."""
    return ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise OSError, naming `what` was tried, where a call of `libc` did not return 0."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
