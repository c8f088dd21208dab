"""Rates: never more than allowed in any window, never less let in, and nothing is remembered for ever."""

from contextlib import AbstractContextManager, suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runpod_flash.control_plane.limits import Limits, Rate
from runpod_flash.control_plane.principals import Principal, Scope
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.rates import WINDOW_S, Rates, effective, is_rated, queue_refusal

ANN, BOB = Principal("ann"), Principal("bob")
OWNER = Principal()
WORKER = Principal("ann", worker="w1")
LENT = Principal(scope=Scope.ENDPOINT, endpoints=frozenset({"e1"}))  # the owner's key for somebody else
FEW = Limits(rates={"run": Rate(3, 2), "free": Rate(0, 0), "purge-queue": Rate(2, 0)}, per_worker=2)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def refused(rates: Rates, principal: Principal = ANN, operation: str = "run", workers: int = 0) -> str | None:
    """The status and after which seconds to try again; None where a request is let in (and has ended)."""
    try:
        with rates.enter(principal, "e1", operation, workers):
            return None
    except Problem as problem:
        return f"{problem.status}:{problem.headers['Retry-After']}"


class RatesModel(RuleBasedStateMachine):
    """Any mix of requests, ends and time, beside plain lists of what was let in."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.rates = Rates(FEW, self.clock)
        self.let_in: dict[tuple[str, str], list[float]] = {}
        self.seen: dict[tuple[str, str], float] = {}  # when it was last in use
        self.open: list[tuple[tuple[str, str], AbstractContextManager[None]]] = []

    @rule(
        principal=st.sampled_from([ANN, BOB]),
        operation=st.sampled_from([*FEW.rates, "unknown"]),
        workers=st.integers(0, 5),
    )
    def ask(self, principal: Principal, operation: str, workers: int) -> None:
        key = (principal.user, operation)
        rate = FEW.rates.get(operation, Rate(0, 0))
        requests = max(rate.requests, workers * 2) if rate.requests else 10**9
        at_once = rate.concurrent * requests // rate.requests if rate.requests and rate.concurrent else 10**9
        recent = [then for then in self.let_in.get(key, []) if then > self.clock.now - WINDOW_S]
        fits = len(recent) < requests and sum(other == key for other, _ in self.open) < at_once
        entering = self.rates.enter(principal, "e1", operation, workers)
        if fits:
            entering.__enter__()
            self.let_in.setdefault(key, []).append(self.clock.now)
            self.open.append((key, entering))
            self.seen[key] = self.clock.now
            return
        with pytest.raises(Problem) as refusal:
            entering.__enter__()
        wait = int(refusal.value.headers["Retry-After"])
        assert 1 <= wait <= WINDOW_S
        if len(recent) >= requests:
            later = self.clock.now + wait - WINDOW_S
            assert sum(then > later for then in recent) < requests, "whoever waits so long finds room"

    @rule(seconds=st.sampled_from([0.25, 3.0, 9.75, 10.0, 25.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.open) - 1))
        key, entered = self.open.pop(place)
        entered.__exit__(None, None, None)
        self.seen[key] = self.clock.now

    @invariant()
    def only_the_busy_are_remembered(self) -> None:
        recent = {key for key, then in self.seen.items() if then > self.clock.now - 2 * WINDOW_S}
        with suppress(Problem), self.rates.enter(BOB, "sweep", "run"):  # a request makes it look
            pass
        assert len(self.rates) <= len(recent | {key for key, _ in self.open}) + 1

    def teardown(self) -> None:
        for _, entered in self.open:
            entered.__exit__(None, None, None)


TestRatesModel = RatesModel.TestCase


def test_the_window_slides() -> None:
    clock = Clock()
    rates = Rates(FEW, clock)
    for _ in range(3):
        assert refused(rates) is None
        clock.now += 2
    assert refused(rates) == "429:4"
    clock.now += 3.5
    assert refused(rates) == "429:1"
    clock.now += 0.5
    assert refused(rates) is None
    assert refused(rates) == "429:2"


def test_with_fewer_workers_than_before_one_waits_for_room_by_the_smaller_rate() -> None:
    clock = Clock()
    rates = Rates(FEW, clock)
    for _ in range(6):
        assert refused(rates, workers=3) is None
        clock.now += 1
    assert refused(rates) == "429:7"
    clock.now += 6.5
    assert refused(rates) == "429:1"
    clock.now += 0.5
    assert refused(rates) is None


def test_users_endpoints_and_operations_do_not_share() -> None:
    rates = Rates(FEW, Clock())
    for _ in range(3):
        assert refused(rates) is None
    assert refused(rates) is not None
    assert refused(rates, BOB) is None
    assert refused(rates, operation="purge-queue") is None
    with rates.enter(ANN, "e2", "run"):
        pass


def test_those_that_run_at_once_are_bounded_and_a_failure_ends_one() -> None:
    clock = Clock()
    rates = Rates(FEW, clock)
    with rates.enter(ANN, "e1", "run"):
        with suppress(ZeroDivisionError), rates.enter(ANN, "e1", "run"):
            assert refused(rates) == "429:1"
            raise ZeroDivisionError
        clock.now += 60  # one that runs for long still counts
        with rates.enter(ANN, "e1", "run"):
            assert refused(rates) == "429:1"
    assert refused(rates) is None


def test_without_a_bound_all_come_in() -> None:
    rates = Rates(FEW, Clock())
    for operation in ("free", "unknown"):
        assert {refused(rates, operation=operation) for _ in range(5000)} == {None}
    assert len(rates) == 1


def test_a_thousand_strangers_are_forgotten() -> None:
    clock = Clock()
    rates = Rates(FEW, clock)
    for number in range(1000):
        assert refused(rates, Principal(f"user{number}")) is None
    assert len(rates) == 1000
    clock.now += WINDOW_S
    assert refused(rates) is None
    assert len(rates) == 1


@pytest.mark.parametrize(
    ("rated", "who"),
    [("keys", {ANN, LENT}), ("nobody", set()), ("everybody", {OWNER, ANN, LENT, WORKER})],
)
def test_who_is_rated(rated: str, who: set[Principal]) -> None:
    limits = replace(FEW, rated=rated)
    for principal in (OWNER, ANN, LENT, WORKER):
        assert is_rated(limits, principal) == (principal in who)
        rates = Rates(limits, Clock())
        assert (any(refused(rates, principal) for _ in range(4))) == (principal in who)
        assert (queue_refusal(limits, principal, 10**6, 1) is not None) == (principal in who)


def test_more_workers_allow_more() -> None:
    assert effective(Rate(1000, 200), 4, 0) == Rate(1000, 200)
    assert effective(Rate(1000, 200), 4, 250) == Rate(1000, 200)
    assert effective(Rate(1000, 200), 8, 250) == Rate(2000, 400)
    assert effective(Rate(2, 0), 8, 250) == Rate(2000, 0)
    assert effective(Rate(0, 5), 8, 250) == Rate(0, 5)
    rates = Rates(FEW, Clock())
    assert [refused(rates, workers=2) for _ in range(5)] == [None] * 4 + ["429:10"]


@pytest.mark.parametrize(
    ("waiting", "workers_max", "fits"),
    [(50, 0, True), (51, 0, False), (51, 1, True), (500, 1, True), (501, 1, False), (1500, 3, True), (1501, 3, False)],
)
def test_the_published_bound_of_a_queue(waiting: int, workers_max: int, fits: bool) -> None:
    refusal = queue_refusal(Limits(), ANN, waiting, workers_max)
    assert (refusal is None) == fits
    if refusal is not None:
        assert (refusal.status, refusal.headers) == (429, {"Retry-After": "10"})


@given(st.integers(0, 10**6), st.integers(0, 100), st.integers(0, 1000), st.integers(0, 1000))
def test_a_queue_is_refused_where_it_is_above_both_bounds(waiting: int, most: int, floor: int, each: int) -> None:
    limits = Limits(queue_floor=floor, queue_per_worker=each)
    above = waiting > floor and waiting > most * each
    assert (queue_refusal(limits, ANN, waiting, most) is not None) == (above and floor > 0 and each > 0)
