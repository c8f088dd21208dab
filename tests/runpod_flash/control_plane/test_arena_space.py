"""Which parts of an arena are free."""

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runpod_flash.control_plane.arena_space import GRAIN, Extents, Space, rounded

STRETCHES = st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(st.tuples(st.booleans(), STRETCHES)), STRETCHES)
def test_extents_are_a_set_of_numbers(steps: list[tuple[bool, tuple[int, int]]], asked: tuple[int, int]) -> None:
    extents, model = Extents(), set[int]()
    for adds, (start, end) in steps:
        (extents.add if adds else extents.remove)(start, end)
        model = model | set(range(start, end)) if adds else model - set(range(start, end))
    found = list(extents)
    assert {number for start, end in found for number in range(start, end)} == model
    assert all(start < end for start, end in found)
    assert all(first[1] < second[0] for first, second in itertools.pairwise(found))
    assert extents.total == len(model)
    assert extents.covers(*asked) == (set(range(*asked)) <= model)
    size = asked[1] - asked[0]
    fits = [start for start in sorted(model) if set(range(start, start + size)) <= model]
    assert extents.first(size) == (fits[0] if fits else None)


class Spaces(RuleBasedStateMachine):
    """Takes and gives at random."""

    def __init__(self) -> None:
        super().__init__()
        self.space = Space(GRAIN, 40 * GRAIN)
        self.taken: dict[int, int] = {}
        self.backed: set[int] = set()

    @rule(size=st.integers(1, 12 * GRAIN))
    def take(self, size: int) -> None:
        offset = self.space.take(size)
        if offset is None:
            return
        assert offset % GRAIN == 0
        assert offset >= GRAIN
        assert offset + rounded(size) <= 40 * GRAIN
        for other, length in self.taken.items():
            assert offset + rounded(size) <= other or other + rounded(length) <= offset, "they overlap"
        grains = range(offset // GRAIN, (offset + rounded(size)) // GRAIN)
        assert self.space.is_backed(offset, rounded(size)) == (set(grains) <= self.backed)
        self.taken[offset] = size

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), backs=st.booleans())
    def give(self, data: Any, backs: bool) -> None:
        offset = data.draw(st.sampled_from(sorted(self.taken)))
        size = self.taken.pop(offset)
        if backs:
            self.space.back(offset, size)
            self.backed.update(range(offset // GRAIN, (offset + rounded(size)) // GRAIN))
        self.space.give(offset, size)

    @rule(most=st.integers(1, 20).map(lambda grains: grains * GRAIN))
    def bare(self, most: int) -> None:
        found = self.space.bare(most)
        assert sum(end - start for start, end in found) <= most
        grains = {grain for start, end in found for grain in range(start // GRAIN, end // GRAIN)}
        used = {
            grain
            for offset, size in self.taken.items()
            for grain in range(offset // GRAIN, (offset + rounded(size)) // GRAIN)
        }
        assert grains <= self.backed
        assert not grains & used
        assert found or not self.backed - used, "there was memory to be given"
        self.backed -= grains

    @invariant()
    def all_is_accounted_for(self) -> None:
        assert self.space.free + sum(map(rounded, self.taken.values())) == 39 * GRAIN
        assert {grain for grain in range(1, 40) if self.space.is_backed(grain * GRAIN, GRAIN)} == self.backed


TestSpaces = Spaces.TestCase


def test_the_lowest_stretch_that_fits_is_given() -> None:
    space = Space(0, 10 * GRAIN)
    first, second, third = space.take(2 * GRAIN), space.take(GRAIN), space.take(GRAIN)
    assert (first, second, third) == (0, 2 * GRAIN, 3 * GRAIN)
    space.give(0, 2 * GRAIN)
    space.give(3 * GRAIN, GRAIN)
    assert space.take(1) == 0
    assert space.take(8 * GRAIN) is None
