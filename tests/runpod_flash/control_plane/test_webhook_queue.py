"""Hosts take turns, within their places, and nothing is forgotten."""

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runpod_flash.control_plane.webhook_queue import WebhookQueue

PLACES, PER_HOST = 5, 2


class QueueModel(RuleBasedStateMachine):
    """Any mix of arrivals, ends and time, beside a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = WebhookQueue(PLACES, PER_HOST)
        self.now, self.count = 0.0, 0
        self.waiting: dict[str, tuple[str, float]] = {}
        self.sending: dict[str, str] = {}

    @rule(host=st.sampled_from("abcd"), wait=st.sampled_from([0.0, 0.0, 1.0, 5.0]))
    def add(self, host: str, wait: float) -> None:
        job = f"j{self.count}"
        self.count += 1
        self.queue.add(job, host, self.now + wait)
        self.queue.add(job, "another", 0.0)  # it is here already
        self.waiting[job] = (host, self.now + wait)

    @rule(seconds=st.sampled_from([0.5, 2.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        busy = Counter(self.sending.values())
        could = {
            job
            for job, (host, due) in self.waiting.items()
            if due <= self.now and busy[host] < PER_HOST and len(self.sending) < PLACES
        }
        job = self.queue.take(self.now)
        assert (job in could) if could else job is None
        if job is not None:
            self.sending[job] = self.waiting.pop(job)[0]

    @precondition(lambda self: self.sending)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted(self.sending)))
        assert self.queue.done(job) == self.sending.pop(job)

    @invariant()
    def all_are_known(self) -> None:
        assert len(self.queue) == len(self.waiting) + len(self.sending)
        assert all(job in self.queue for job in (*self.waiting, *self.sending))

    @invariant()
    def somebody_looks_in_time(self) -> None:
        """Whatever is due later than the last look is announced."""
        later = [due for _, due in self.waiting.values() if due > self.now]
        soonest = self.queue.next_due()
        assert not later or (soonest is not None and soonest <= min(later))


TestQueueModel = QueueModel.TestCase


def test_a_host_with_many_waits_for_one_with_few() -> None:
    queue = WebhookQueue(places=4, per_host=4)
    for number in range(100):
        queue.add(f"a{number}", "a", 0)
    queue.add("b0", "b", 0)
    assert [queue.take(0) for _ in range(4)] == ["a0", "b0", "a1", "a2"]


def test_what_is_due_first_goes_first() -> None:
    queue = WebhookQueue(places=9, per_host=9)
    for job, due in (("late", 3.0), ("early", 1.0), ("later", 9.0)):
        queue.add(job, "a", due)
    assert [queue.take(5.0), queue.take(5.0), queue.take(5.0)] == ["early", "late", None]
    assert queue.next_due() == 9.0
