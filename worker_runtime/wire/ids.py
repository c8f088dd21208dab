"""Ids that nobody can guess and that grow with time: what is stored by them lands side by side on the disk."""

import os
import time


def ordered_hex() -> str:
    """32 hexadecimal digits: 12 of the time in milliseconds, 20 by chance."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def ordered_uuid() -> str:
    """A UUID of version 7, as text."""
    return uuid_of(ordered_hex())


def uuid_of(digits: str) -> str:
    """The UUID of version 7 that is made of such digits."""
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
