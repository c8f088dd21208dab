"""Frames over real streams."""

import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_runtime.wire import frames
from worker_runtime.wire.errors import WireError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FRAMES = st.lists(st.tuples(st.dictionaries(st.text(), JSON, max_size=4), st.binary(max_size=300)), max_size=5)


def written(conversation: list[tuple[dict[str, object], bytes]]) -> bytes:
    return b"".join(piece for header, body in conversation for piece in frames.encode(header, body))


@given(FRAMES)
def test_what_is_written_is_received(conversation: list[tuple[dict[str, object], bytes]]) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(written(conversation))
        assert [frames.receive(ours) for _ in conversation] == conversation
        with pytest.raises(EOFError):
            frames.receive(ours)


@given(FRAMES, st.integers(1, 700))
def test_the_splitter_gives_each_frame_when_it_is_whole(
    conversation: list[tuple[dict[str, object], bytes]], step: int
) -> None:
    data, splitter, found = written(conversation), frames.Splitter(), list[tuple[frames.Header, bytes]]()
    for start in range(0, len(data), step):
        found += [(header, bytes(body)) for header, body in splitter.feed(data[start : start + step])]
        arrived = data[: start + step]
        assert found == conversation[: len(found)]
        assert splitter.whole == (len(written(conversation[: len(found)])) == len(arrived))
    assert found == conversation


@given(st.binary(min_size=12))
def test_the_splitter_refuses_what_is_no_frame(data: bytes) -> None:
    splitter = frames.Splitter()
    with pytest.raises(WireError):
        splitter.feed(b"\xff" * 12 + data)
    with pytest.raises(WireError):
        frames.Splitter().feed(struct.pack("!IQ", 2, 0) + b"[]")


@given(FRAMES.filter(bool), st.data())
def test_a_stream_that_breaks_off_is_an_end_of_file(
    conversation: list[tuple[dict[str, object], bytes]], data: st.DataObject
) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(written(conversation[:1])[: data.draw(st.integers(0, len(written(conversation[:1])) - 1))])
        with pytest.raises(EOFError):
            frames.receive(ours)


@given(st.binary(min_size=12))
def test_arbitrary_bytes_are_no_frame(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(data)
        try:
            header, _ = frames.receive(ours)
        except (WireError, EOFError):
            return
        assert isinstance(header, dict)


@pytest.mark.parametrize("head", [b"[]", b"1", b'"x"', b"{", b"\xff"])
def test_a_header_is_an_object(head: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(struct.pack("!IQ", len(head), 0) + head)
        with pytest.raises(WireError, match="header is not"):
            frames.receive(ours)


def test_lengths_of_another_protocol_are_refused_before_they_are_read() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(WireError, match="does not speak this protocol"):
            frames.receive(ours)


def test_blocking_sockets_carry_large_bodies() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        body = bytes(range(256)) * 20_000
        sender = threading.Thread(target=frames.send_whole, args=(theirs, frames.encode({"n": 1}, body)))
        sender.start()
        assert frames.receive(ours) == ({"n": 1}, body)
        sender.join()
        theirs.close()
        with pytest.raises(EOFError):
            frames.receive(ours)
