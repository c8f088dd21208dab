"""Which worker gets a request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.balancing.picking import Affinity, Bond, Unpicked, Upstream, Use, pick
from runpod_flash.control_plane.problems import Problem

IDS = st.sampled_from(["a", "b", "c", "d", "gone"])
AFFINITIES = st.builds(Affinity, st.sampled_from(Bond), IDS).map(lambda a: Affinity() if a.bond is Bond.NONE else a)
WORKERS = st.lists(
    st.builds(Upstream, st.sampled_from("abcd"), st.just(1), st.booleans(), st.booleans()), unique_by=lambda one: one.id
)
USES = st.dictionaries(st.sampled_from("abcd"), st.builds(Use, st.integers(0, 3), st.integers(0, 9)))


def worker(name: str, *, healthy: bool = True, draining: bool = False) -> Upstream:
    return Upstream(name, 1, healthy, draining)


@pytest.mark.parametrize(
    ("header", "affinity"),
    [
        ("", Affinity()),
        ("  ", Affinity()),
        ("w1", Affinity(Bond.SOFT, "w1")),
        (" strict  w1 ", Affinity(Bond.STRICT, "w1")),
        ("strict-resume w1", Affinity(Bond.STRICT, "w1")),
    ],
)
def test_the_header_is_read(header: str, affinity: Affinity) -> None:
    assert Affinity.parse(header) == affinity


def test_the_version_is_read_beside_it() -> None:
    assert Affinity.parse("strict w1", "12") == Affinity(Bond.STRICT, "w1", 12)
    for wrong in ("x", "-1", "1.5", "٣", "9" * 16):
        with pytest.raises(Problem, match="X-Flash-Version"):
            Affinity.parse("", wrong)


def test_workers_of_an_older_version_than_the_least_are_not_there() -> None:
    old, new = Upstream("a", 1, True, version=1), Upstream("b", 1, True, version=2)
    assert pick(Affinity(least_version=2), [old, new], {"b": Use(9)}) == new
    assert pick(Affinity(least_version=1), [old, new], {"b": Use(9)}) == old
    assert pick(Affinity(least_version=3), [old, new], {}) is Unpicked.WAIT
    assert pick(Affinity(Bond.SOFT, "a", 2), [old, new], {}) == new
    assert pick(Affinity(Bond.STRICT, "a", 2), [old, new], {}) is Unpicked.GONE


@pytest.mark.parametrize("header", ["strict", "strict-resume", "loose w1", "strict w1 w2"])
def test_a_header_that_says_nothing_known_is_refused(header: str) -> None:
    with pytest.raises(Problem, match="X-Runpod-Worker-Id") as refused:
        Affinity.parse(header)
    assert refused.value.status == 400
    assert repr(header) in refused.value.detail


def test_the_one_with_the_least_to_do_is_picked() -> None:
    uses = {"a": Use(2, 1), "b": Use(1, 9), "c": Use(3, 2)}
    assert pick(Affinity(), [worker(name) for name in "abc"], uses) == worker("b")


def test_among_equals_it_is_the_one_that_has_not_been_picked_for_longest() -> None:
    assert pick(Affinity(), [worker("a"), worker("b")], {"a": Use(1, 4), "b": Use(1, 3)}) == worker("b")


def test_a_soft_wish_falls_back_and_a_strict_one_waits() -> None:
    workers = [worker("a", healthy=False), worker("b")]
    assert pick(Affinity(Bond.SOFT, "a"), workers, {}) == worker("b")
    assert pick(Affinity(Bond.STRICT, "a"), workers, {}) is Unpicked.WAIT
    assert pick(Affinity(Bond.STRICT, "c"), workers, {}) is Unpicked.GONE
    assert pick(Affinity(Bond.STRICT, "a"), [worker("a", draining=True)], {}) is Unpicked.GONE


def test_a_wish_counts_more_than_the_load() -> None:
    for bond in (Bond.SOFT, Bond.STRICT):
        assert pick(Affinity(bond, "a"), [worker("a"), worker("b")], {"a": Use(9, 9)}) == worker("a")


@given(AFFINITIES, WORKERS, USES)
def test_what_holds_for_each_pick(affinity: Affinity, workers: list[Upstream], uses: dict[str, Use]) -> None:
    picked = pick(affinity, workers, uses)
    usable = [one for one in workers if one.healthy and not one.draining]
    wanted = [one for one in usable if one.id == affinity.worker]
    if isinstance(picked, Unpicked):
        assert not wanted
        assert not usable or affinity.bond is Bond.STRICT
        assert (picked is Unpicked.GONE) == (
            affinity.bond is Bond.STRICT and affinity.worker not in {one.id for one in workers if not one.draining}
        )
        return
    assert picked in usable
    if affinity.bond is Bond.STRICT:
        assert picked.id == affinity.worker
    elif not wanted:
        assert uses.get(picked.id, Use()).in_flight == min(uses.get(one.id, Use()).in_flight for one in usable)
