"""Large copies on several cores: one alone does not use all of the memory's speed.

numpy copies, since it lets go of the interpreter meanwhile. It is there where large values are arrays; where it is not,
one core copies.
"""

import os
import sys
import threading
from typing import Any, Final

from worker_runtime.wire.pieces import Part, Pieces

SHARED_FROM: Final = 16 * 1024**2
"""Bytes from which on a copy is shared; below, starting a thread costs what it saves."""

_MOST_THREADS: Final = 4  # then memory is what bounds it
_PAGE: Final = 4096


def write(pieces: Pieces, target: memoryview) -> None:
    """Copy pieces to the beginning of a writable view of bytes, which is large enough."""
    start = 0
    for part in pieces.parts:
        end = start + len(part)
        _copy(part, target[start:end])
        start = end


def _copy(source: Part, target: memoryview) -> None:
    numpy = sys.modules.get("numpy") if len(source) >= SHARED_FROM else None
    number = min(len(os.sched_getaffinity(0)), _MOST_THREADS) if hasattr(numpy, "copyto") else 1
    if number == 1:
        target[:] = source
    else:
        _shared(numpy, source, target, number)


def _shared(numpy: Any, source: Part, target: memoryview, number: int) -> None:
    taken, given = (numpy.frombuffer(each, dtype=numpy.uint8) for each in (source, target))
    step = -(-len(target) // (number * _PAGE)) * _PAGE
    others = []
    for start in range(step, len(target), step):
        thread = threading.Thread(target=numpy.copyto, args=(given[start : start + step], taken[start : start + step]))
        try:
            thread.start()
        except RuntimeError:  # no thread is to be had here
            thread.run()
        else:
            others.append(thread)
    numpy.copyto(given[:step], taken[:step])
    for thread in others:
        thread.join()
