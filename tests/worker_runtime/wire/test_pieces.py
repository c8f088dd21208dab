"""Encoded values in pieces."""

from worker_runtime.wire.pieces import Pieces, joined


def test_pieces_are_one_after_the_other() -> None:
    pieces = Pieces([b"ab", bytearray(b"c"), b"", memoryview(b"de")])
    assert (len(pieces), pieces.joined()) == (5, b"abcde")
    assert joined(pieces) == b"abcde"
    assert joined(b"x") == b"x"


def test_what_they_refer_to_is_let_go() -> None:
    data = bytearray(4)
    pieces = Pieces([memoryview(data)])
    pieces.let_go()
    data.append(1)  # which a view of it would not allow
    assert len(pieces) == 0
