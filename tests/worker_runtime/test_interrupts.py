"""Stopping the running call and no other, as a state machine and against the real signal."""

import threading
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from worker_runtime.interrupts import Cancelled, Interrupts, Key, MainThread, Ordered

KEYS = st.sampled_from([("a", 1), ("a", 2), ("b", 1)])


class Calls(RuleBasedStateMachine):
    """Any order of events: a stop goes to a call that is armed, at most once."""

    def __init__(self) -> None:
        super().__init__()
        self.interrupts = Interrupts()
        self.waiting: set[tuple[str, int]] = set()
        self.running: dict[tuple[str, int], bool] = {}  # whether it is cancelled
        self.armed: set[tuple[str, int]] = set()
        self.stopped: list[tuple[str, int]] = []

    @rule(key=KEYS)
    def arrive(self, key: tuple[str, int]) -> None:
        if key not in self.waiting and key not in self.running:
            self.interrupts.add(key)
            self.waiting.add(key)

    @rule(key=KEYS)
    def begin(self, key: tuple[str, int]) -> None:
        if key in self.running:
            return
        assert self.interrupts.begin(key) is (key in self.waiting)
        if key in self.waiting:
            self.waiting.remove(key)
            self.running[key] = False

    @rule(key=KEYS)
    def cancel(self, key: tuple[str, int]) -> None:
        before = len(self.stopped)
        assert self.interrupts.cancel(key) is (key in self.waiting)
        self.waiting.discard(key)
        due = key in self.armed and not self.running.get(key, True)
        assert self.stopped[before:] == ([key] if due else [])
        if key in self.running:
            self.running[key] = True

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def arm(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        if self.running[key]:
            with pytest.raises(Cancelled):
                self.interrupts.arm(key, lambda: self.stopped.append(key))
        else:
            self.interrupts.arm(key, lambda: self.stopped.append(key))
            self.armed.add(key)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def disarm_and_end(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.interrupts.disarm(key)
        self.armed.discard(key)
        assert self.interrupts.end(key) is self.running.pop(key)

    @invariant()
    def nothing_is_both(self) -> None:
        assert not self.waiting & self.running.keys()


Calls.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestCalls = Calls.TestCase


class CallsInTurn(RuleBasedStateMachine):
    """Calls of the pool and of one client after the other: a cancel meets the call that it is for, however late."""

    def __init__(self) -> None:
        super().__init__()
        self.interrupts = Ordered()
        self.made: list[tuple[int, Key]] = []  # all there ever were, by their numbers
        self.next: tuple[list[tuple[int, Key]], ...] = [], []  # not begun: of the pool, of the client
        self.number = 0
        self.of_client = 0
        self.running: Key | None = None
        self.cancelled: set[Key] = set()
        self.stopped: list[Key] = []

    @rule(direct=st.booleans())
    def arrive(self, *, direct: bool) -> None:
        if direct:
            self.of_client -= 1
        else:
            self.number += 1
        call = self.of_client if direct else self.number, (f"job {len(self.made)}", 1)
        self.made.append(call)
        self.next[direct].append(call)

    @precondition(lambda self: self.running is None)
    @rule()
    def lend(self) -> None:
        self.interrupts.lent()
        self.of_client = 0
        self.next[True].clear()  # the client before gives them to somebody else

    @precondition(lambda self: self.running is None)
    @rule(direct=st.booleans())
    def begin(self, *, direct: bool) -> None:
        if not self.next[direct]:
            return
        number, key = self.next[direct].pop(0)
        wanted = self.interrupts.begin_next(number, key)
        assert wanted is (key not in self.cancelled)
        if wanted:
            self.running = key
            self.interrupts.arm(key, lambda: self.stopped.append(key))

    @precondition(lambda self: self.made)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number, key = data.draw(st.sampled_from(self.made))
        before = len(self.stopped)
        self.interrupts.cancel_number(number, key)
        due = key == self.running and key not in self.cancelled
        assert self.stopped[before:] == ([key] if due else [])
        self.cancelled.add(key)

    @precondition(lambda self: self.running is not None)
    @rule()
    def end(self) -> None:
        assert self.running is not None
        self.interrupts.disarm(self.running)
        assert self.interrupts.end(self.running) is (self.running in self.cancelled)
        self.running = None


CallsInTurn.TestCase.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
TestCallsInTurn = CallsInTurn.TestCase


def test_an_order_of_a_loan_that_is_over_meets_no_call_of_the_next_one() -> None:
    interrupts = Ordered()
    for _ in range(2):
        interrupts.lent()
    interrupts.cancel_number(-1, ("of the first loan", 1))
    assert interrupts.begin_next(-1, ("of the second", 1))


def test_the_signal_arrives_only_between_arm_and_disarm() -> None:
    before = __import__("signal").getsignal(2)
    main = MainThread()
    try:
        main.arm()
        main.disarm()
        main.stop()  # late: the call is over
        time.sleep(0)
        main.arm()  # the next call
        for _ in range(1000):
            pass
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the interrupt may arrive at any of these steps
            threading.Timer(0.02, main.stop).start()
            time.sleep(10)
        main.disarm()
    finally:
        __import__("signal").signal(2, before)
