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
