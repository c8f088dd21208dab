"""Each ticket is taken once: by the child, or by the parent that takes it back."""

import random
import threading

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from worker_runtime.tickets import TicketOffice, Tickets

END = 2**63


def test_who_is_first_has_it_and_nobody_has_it_twice() -> None:
    office, begun, taken = TicketOffice(), list[int](), set[int]()

    def child() -> None:
        tickets = Tickets(office.for_child)
        while (number := tickets.next()) != END:
            begun.append(number)

    thread = threading.Thread(target=child)
    thread.start()
    chance = random.Random(7)
    for number in range(1, 3000, 3):
        office.give([number, number + 1, number + 2])
        taken.update(office.take_back({number + chance.randrange(3), number + 2}))
    office.give([END])
    thread.join(20)
    office.close()
    assert begun == sorted(begun)
    assert taken.isdisjoint(begun)
    assert len(begun) + len(taken) == 3000
    assert taken


class Office(RuleBasedStateMachine):
    """Any order of giving, beginning and taking back."""

    def __init__(self) -> None:
        super().__init__()
        self.office = TicketOffice()
        self.child = Tickets(self.office.for_child)
        self.number = 0
        self.waiting: list[int] = []

    @rule(count=st.integers(1, 5))
    def give(self, count: int) -> None:
        numbers = [self.number + place for place in range(1, count + 1)]
        self.number += count
        self.office.give(numbers)
        self.waiting += numbers

    @rule()
    def begin(self) -> None:
        if self.waiting:
            assert self.child.next() == self.waiting.pop(0)

    @rule(wanted=st.sets(st.integers(1, 40)))
    def take_back(self, wanted: set[int]) -> None:
        expected = [number for number in self.waiting if number in wanted]
        assert self.office.take_back(wanted) == expected
        self.waiting = [number for number in self.waiting if number not in wanted]

    @invariant()
    def nothing_is_lost(self) -> None:
        left = self.office.take_back(range(1, self.number + 1))
        assert left == self.waiting
        self.office.give(left)

    def teardown(self) -> None:
        self.office.close()


Office.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestOffice = Office.TestCase
