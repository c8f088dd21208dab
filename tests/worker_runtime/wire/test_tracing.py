"""Marks reach who listens, with times of one clock; without a listener nothing happens and nothing fails."""

import os
import socket
import time
from collections.abc import Iterator

import pytest

from worker_runtime.wire import trace, tracing
from worker_runtime.wire.tracing import AT_ONCE

NAME = f"flash-test-{os.getpid()}"


@pytest.fixture
def heard() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(b"\0" + NAME.encode())
        listener.settimeout(5)
        yield listener


@pytest.fixture
def marks(heard: socket.socket) -> Iterator[tracing.Marks]:
    marks = tracing.begin(NAME)
    yield marks
    marks.close()


def nothing_came(heard: socket.socket) -> bool:
    heard.setblocking(False)
    try:
        heard.recv(65536)
    except BlockingIOError:
        return True
    return False


@pytest.mark.usefixtures("marks")
def test_marks_come_together_in_their_order(heard: socket.socket) -> None:
    before = time.monotonic_ns()
    borders = [number % len(trace.BORDERS) for number in range(AT_ONCE)]
    for border in borders:
        trace.mark(border)
    found = list(tracing.read(heard.recv(65536)))
    assert [border for border, _ in found] == [trace.BORDERS[border] for border in borders]
    times = [at for _, at in found]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= time.monotonic_ns()


@pytest.mark.usefixtures("marks")
def test_fewer_wait_for_more(heard: socket.socket) -> None:
    for _ in range(AT_ONCE - 1):
        trace.mark(trace.CALLED)
    assert nothing_came(heard)
    trace.mark(trace.VALUE)
    assert len(list(tracing.read(heard.recv(65536)))) == AT_ONCE


def test_after_the_end_nothing_is_sent(heard: socket.socket) -> None:
    tracing.begin(NAME).close()
    for _ in range(3 * AT_ONCE):
        trace.mark(trace.CALLED)
    assert nothing_came(heard)


def test_nobody_listens_and_nothing_fails() -> None:
    marks = tracing.begin(f"{NAME}-nobody")
    for _ in range(3 * AT_ONCE):
        trace.mark(trace.CALLED)
    marks.close()


@pytest.mark.usefixtures("marks")
def test_one_who_does_not_read_holds_nobody_up() -> None:
    for _ in range(2000 * AT_ONCE):  # more than the system keeps for a reader
        trace.mark(trace.CALLED)
