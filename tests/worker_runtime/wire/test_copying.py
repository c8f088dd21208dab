"""Pieces are copied to one place, large ones by several threads where numpy is there; see `array_checks.py`."""

from collections.abc import Callable

from worker_runtime.wire import copying
from worker_runtime.wire.pieces import Pieces


def test_pieces_are_copied_one_after_the_other() -> None:
    target = bytearray(7)
    copying.write(Pieces([b"ab", bytearray(b"c"), b"", memoryview(b"de")]), memoryview(target))
    assert target == b"abcde\0\0"


def test_large_ones_arrive_whole_however_many_cores_copy(array_checks: Callable[[str], None]) -> None:
    array_checks("numpy-copies")
