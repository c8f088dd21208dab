"""What a running call sends, frame by frame, and that nothing interrupts it meanwhile."""

import socket
from collections.abc import Iterator

import pytest

from worker_runtime import reporting
from worker_runtime.channel import Channel
from worker_runtime.outlets import Outlets
from worker_runtime.wire import frames, items, messages
from worker_runtime.wire.jobs import Progress

KEY = ("job", 2)
NAMES = {"job": "job", "attempt": 2}


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(5)
        yield Channel(ours), theirs


def test_items_leave_while_no_interrupt_can_come(ends: tuple[Channel, socket.socket]) -> None:
    channel, parent = ends
    said = list[str]()
    with Outlets(channel, alone=True).of(KEY, {"window": [5, 100]}) as outlet:
        outlet.guard(lambda: said.append("pause"), lambda: said.append("resume"))
        outlet.put(items.encode(1))
        outlet.put(items.encode((2,)))
    header, body = frames.receive(parent)
    assert (header, bytes(body)) == ({"type": messages.CHUNK, **NAMES, "plain": True}, b"1")
    assert frames.receive(parent)[0] == {"type": messages.CHUNK, **NAMES, "plain": False}
    assert said == ["pause", "resume"] * 2


def test_reports_have_left_when_the_call_is_over(ends: tuple[Channel, socket.socket]) -> None:
    channel, parent = ends
    with Outlets(channel, alone=True).of(KEY, {}):
        reporting.report(Progress(1, 2, "half"))
        reporting.report(Progress(2, 2, "all"))
    assert not reporting.report(Progress(3))
    channel.done(KEY, b"", None)
    heard = []
    while (header := frames.receive(parent)[0])["type"] != messages.DONE:
        heard.append(header)
    assert heard[-1] == {"type": messages.PROGRESS, **NAMES, "progress": Progress(2, 2, "all").to_json()}


def test_credit_reaches_the_call_that_runs_and_no_other(ends: tuple[Channel, socket.socket]) -> None:
    channel, _ = ends
    outlets, credit = Outlets(channel, alone=True), {"items": 2, "bytes": 2}
    with outlets.of(KEY, {"window": [1, 10]}) as outlet:
        outlet.put(items.encode(1))
        outlets.credit(("other", 1), credit)
        outlets.credit(KEY, credit)
        outlet.put(items.encode(2))
        outlet.put(items.encode(3))
    outlets.credit(KEY, credit)  # late
