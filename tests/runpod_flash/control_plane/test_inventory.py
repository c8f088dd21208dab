"""GPUs handed out and taken back, over the stand-in inventory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.inventory import Grant, Infeasible, Inventory, fake
from runpod_flash.errors import ConfigError

L4, A40 = "NVIDIA L4", "NVIDIA A40"


def test_a_machine_without_gpus_says_so_and_hides_every_device() -> None:
    grant = Inventory(fake("")).acquire([L4], 1)
    assert grant is not None
    assert grant.visible_devices == ""
    assert grant.notice is not None
    assert "no GPU" in grant.notice


def test_the_preferred_type_comes_first_and_the_next_when_it_is_in_use() -> None:
    inventory = Inventory(fake(f"{A40}:48,{L4}:24,{L4}:24"))
    grants = [inventory.acquire([L4, A40], 1) for _ in range(3)]
    assert [grant and grant.visible_devices for grant in grants] == ["1", "2", "0"]
    assert inventory.acquire([L4, A40], 1) is None


def test_another_type_is_used_and_named_where_the_asked_one_is_not_there() -> None:
    grant = Inventory(fake(f"{A40}:48")).acquire([L4], 1)
    assert grant is not None
    assert grant.visible_devices == "0"
    assert grant.notice is not None
    assert A40 in grant.notice


def test_more_than_there_are_is_infeasible() -> None:
    with pytest.raises(Infeasible, match="gpu_count is 3"):
        Inventory(fake(f"{L4}:24,{L4}:24")).acquire([L4], 3)


@pytest.mark.parametrize(
    ("cuda", "floor", "allowed", "wrong"),
    [
        ("12.4", "12.8", [], "its driver supports CUDA 12.4, and min_cuda_version is 12.8"),
        ("12.4", "", ["12.1", "11.8"], "its driver supports CUDA 12.4, and 12.1 or 11.8 is asked for"),
        ("12.10", "12.8", [], None),
        ("12.4", "12.4", [], None),
        ("12.4", "", ["12.1", "12.4"], None),
        ("12.4", "", [], None),
        (None, "13.0", [], None),
    ],
)
def test_what_the_driver_supports(cuda: str | None, floor: str, allowed: list[str], wrong: str | None) -> None:
    assert Inventory(fake(f"{L4}:24"), cuda=cuda).check_cuda(floor, allowed) == (
        None if wrong is None else f"this machine is used although {wrong}"
    )
    strict = Inventory(fake(f"{L4}:24"), cuda=cuda, strict=True)
    if wrong is None:
        strict.check_cuda(floor, allowed)
        return
    with pytest.raises(Infeasible, match=f"cannot be used: {wrong}; ask for a lower version"):
        strict.check_cuda(floor, allowed)


def test_without_a_gpu_no_driver_matters() -> None:
    assert Inventory((), cuda="11.0", strict=True).check_cuda("12.8", []) is None


def test_feasibility_is_known_without_taking_anything() -> None:
    Inventory(fake("")).check([L4], 9)  # no GPU at all: it runs on the CPU
    inventory = Inventory(fake(f"{L4}:24"))
    inventory.acquire([L4], 1)
    inventory.check([L4], 1)
    with pytest.raises(Infeasible, match=f"1 × {L4}"):
        inventory.check([L4], 2)


@pytest.mark.parametrize(
    ("there", "types", "count", "said"),
    [
        ("", [L4], 1, "has no GPU"),
        (f"{A40}:48", [L4], 1, f"1 × {L4} is asked for, this machine has 1 × {A40}"),
        (f"{A40}:48,{L4}:24", [L4, "NVIDIA H200"], 2, "2 × NVIDIA L4 or NVIDIA H200"),
        (f"{L4}:24", [L4], 2, "gpu_count is 2"),
    ],
)
def test_a_strict_one_refuses_what_it_has_not(there: str, types: list[str], count: int, said: str) -> None:
    inventory = Inventory(fake(there), strict=True)
    for ask in (inventory.check, inventory.acquire):
        with pytest.raises(Infeasible, match=said):
            ask(types, count)


def test_a_strict_one_gives_what_it_has() -> None:
    inventory = Inventory(fake(f"{A40}:48,{L4}:24"), strict=True)
    grant = inventory.acquire(["NVIDIA H200", L4], 1)
    assert grant is not None
    assert (grant.visible_devices, grant.notice) == ("1", None)
    assert inventory.acquire([L4], 1) is None
    inventory.check([], 0)


@pytest.mark.parametrize(
    ("held", "types", "count", "expected"),
    [
        ([], [L4], 1, ({L4}, 0)),
        ([L4, L4], [L4], 1, ({L4}, 1)),
        ([L4, L4], [L4], 2, ({L4}, 2)),
        ([L4], [L4], 2, ({L4}, 1)),
        ([L4, L4], [L4, A40], 1, ({L4, A40}, 0)),
        ([L4, A40], [L4, A40], 2, ({L4}, 1)),
        ([], ["NVIDIA H200"], 1, ({L4, A40}, 0)),
        ([L4, L4], ["NVIDIA H200"], 3, ({L4, A40}, 2)),
    ],
)
def test_what_must_become_free_for_a_worker(
    held: list[str], types: list[str], count: int, expected: tuple[set[str], int]
) -> None:
    inventory = Inventory(fake(f"{L4}:24,{L4}:24,{A40}:48"))
    for kind in held:
        assert inventory.acquire([kind], 1) is not None
    assert inventory.missing(types, count) == expected


@pytest.mark.parametrize("text", ["L4", "L4:", ":24", "L4:x"])
def test_a_stand_in_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="TYPE:GB"):
        fake(text)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3)), max_size=40))
def test_no_device_is_ever_held_twice(steps: list[tuple[bool, int]]) -> None:
    inventory, held = Inventory(fake(f"{L4}:24,{L4}:24,{A40}:48")), list[Grant]()
    for take, count in steps:
        if take:
            grant = inventory.acquire([L4, A40], count)
            if grant is not None:
                held.append(grant)
        elif held:
            inventory.release(held.pop())
        devices = [gpu.index for grant in held for gpu in grant.gpus]
        assert len(devices) == len(set(devices))
