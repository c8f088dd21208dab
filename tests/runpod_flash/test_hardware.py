"""The tables of hardware names and what a wish means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.hardware import (
    POOLS,
    RAM_GB_PER_VCPU,
    CpuInstanceType,
    CudaVersion,
    DataCenter,
    GpuGroup,
    GpuType,
    acceptable_types,
    pools_and_exclusions,
    preference,
    types_in,
)

wishes = st.lists(st.sampled_from([*GpuGroup, *GpuType]), min_size=1, max_size=6)


def test_every_type_is_in_exactly_one_pool_and_has_a_memory() -> None:
    held = [kind for kinds in POOLS.values() for kind in kinds]
    assert sorted(kind.name for kind in held) == sorted(kind.name for kind in GpuType.all())
    assert all(kind.memory_gb > 0 for kind in held)
    assert set(POOLS) == set(GpuGroup.all())


@given(wishes)
def test_the_words_of_the_api_mean_the_same_types_as_the_wish(wish: list[GpuGroup | GpuType]) -> None:
    pools, excluded = pools_and_exclusions(wish)
    assert set(types_in(pools, excluded)) == set(acceptable_types(wish))
    assert len(set(pools)) == len(pools)


def test_a_pin_excludes_the_other_types_of_its_pool() -> None:
    pools, excluded = pools_and_exclusions([GpuType.NVIDIA_RTX_6000_ADA_GENERATION])
    assert (pools, excluded) == (("ADA_48_PRO",), ("NVIDIA L40", "NVIDIA L40S"))
    assert pools_and_exclusions([GpuType.NVIDIA_L40, GpuGroup.ADA_48_PRO]) == (("ADA_48_PRO",), ())


def test_the_order_of_a_wish_is_kept() -> None:
    wish = [GpuType.NVIDIA_H200, GpuGroup.AMPERE_80, GpuType.NVIDIA_L4]
    assert pools_and_exclusions(wish)[0] == ("HOPPER_141", "AMPERE_80", "AMPERE_24")
    assert acceptable_types(wish)[0] is GpuType.NVIDIA_H200


@given(wishes)
def test_the_order_of_types_is_kept_too(wish: list[GpuGroup | GpuType]) -> None:
    ordered = types_in(*pools_and_exclusions(wish), preference(wish))
    assert ordered == acceptable_types(wish)


def test_an_order_is_said_only_where_the_pools_do_not_say_it() -> None:
    assert preference([GpuGroup.AMPERE_24, GpuType.NVIDIA_H200]) == ()
    assert preference([GpuType.NVIDIA_L4]) == ()
    assert preference([GpuType.NVIDIA_L4, GpuType.NVIDIA_RTX_A5000]) == ("NVIDIA L4", "NVIDIA RTX A5000")


def test_gpu_ids_of_the_older_apis() -> None:
    text = GpuGroup.to_gpu_ids_str([GpuType.NVIDIA_L4, GpuGroup.ADA_24])
    assert text == "ADA_24,AMPERE_24,-NVIDIA GeForce RTX 3090,-NVIDIA RTX A5000"
    assert GpuGroup.from_gpu_ids_str(f" {text},NO_POOL") == [GpuGroup.ADA_24, GpuType.NVIDIA_L4]
    assert GpuGroup.normalize_gpu_ids_str("-b, AMPERE_24,ada_24 ,-A,AMPERE_24,") == "ada_24,AMPERE_24,-A,-b"
    assert GpuGroup.from_gpu_ids_str(GpuGroup.to_gpu_ids_str([GpuGroup.ANY])) == sorted(
        GpuGroup.all(), key=lambda group: group.value.casefold()
    )


@given(wishes)
def test_gpu_ids_mean_the_same_types(wish: list[GpuGroup | GpuType]) -> None:
    text = GpuGroup.to_gpu_ids_str(wish)
    assert GpuGroup.normalize_gpu_ids_str(text) == text
    assert set(acceptable_types(GpuGroup.from_gpu_ids_str(text))) == set(acceptable_types(wish))


def test_unknown_names_are_passed_over() -> None:
    assert types_in(["NOT_A_POOL", "HOPPER_141"], ["NVIDIA X"]) == (GpuType.NVIDIA_H200,)


@pytest.mark.parametrize("instance", list(CpuInstanceType))
def test_cpu_instances_tell_their_size(instance: CpuInstanceType) -> None:
    assert instance == f"{instance.flavor}-{instance.vcpu}-{instance.memory_gb}"
    assert instance.memory_gb == RAM_GB_PER_VCPU[instance.flavor] * instance.vcpu


def test_withdrawn_data_centers_keep_their_names() -> None:
    assert not DataCenter.US_GA_2.offered
    assert DataCenter.US_GA_2 not in DataCenter.all()
    assert DataCenter.from_string(" us_ga_2 ") is DataCenter.US_GA_2
    assert len(DataCenter.all()) == 11
    with pytest.raises(ValueError, match="there is no data center 'US-XX-9'; there are US-CA-2"):
        DataCenter.from_string("US-XX-9")


def test_both_sets_of_cuda_versions_are_there() -> None:
    assert {version.value for version in CudaVersion} >= {"11.1", "11.4", "11.7", "12.5", "12.9", "13.0"}
    assert GpuType.is_gpu_type("NVIDIA L4")
    assert not GpuType.is_gpu_type("NVIDIA_L4")
