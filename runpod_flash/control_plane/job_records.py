"""What one commit says of jobs, as one value of the journal: a checksum and marshalled tuples.

    (number, *STATE, *FIXED)   a job for the first time
    (number, *STATE)           what has become of one
    (number,)                  whatever was said before of the job of this number is over

A row of SQLite for each would cost ten times as much. Marshalled data must be read as it was written, or it can do
anything to the interpreter; hence the checksum.
"""

import marshal
import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any, Final

Change = tuple[Any, ...]

_FORM: Final = 4  # of marshal: it is read by every Python from 3.4 on
_CHECK: Final = 4  # bytes of the checksum


def pack(changes: list[Change]) -> bytes:
    """Changes as one value. Raises ValueError where one of them has something else than text, numbers and bytes."""
    data = marshal.dumps(changes, _FORM)
    return zlib.crc32(data).to_bytes(_CHECK, "big") + data


def unpack(record: bytes) -> Sequence[Change]:
    """The changes of such a value. Raises sqlite3.DatabaseError: it is damaged."""
    data = memoryview(record)[_CHECK:]
    if not data or zlib.crc32(data).to_bytes(_CHECK, "big") != record[:_CHECK]:
        damaged = sqlite3.DatabaseError("a record of its journal is not as it was written")
        damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damaged
    changes: Sequence[Change] = marshal.loads(data)  # what is not as it was written does not come here
    return changes
