"""Names of GPUs, CPU instances, CUDA versions and data centers, and which GPU types each pool holds. Data only."""

from collections.abc import Iterable, Sequence
from enum import Enum, StrEnum
from typing import TypeAlias


class GpuGroup(Enum):
    """A pool of GPU types of about one size and speed. `ANY` is every pool."""

    ANY = "any"
    ADA_24 = "ADA_24"
    ADA_32_PRO = "ADA_32_PRO"
    ADA_48_PRO = "ADA_48_PRO"
    ADA_80_PRO = "ADA_80_PRO"
    AMPERE_16 = "AMPERE_16"
    AMPERE_24 = "AMPERE_24"
    AMPERE_48 = "AMPERE_48"
    AMPERE_80 = "AMPERE_80"
    HOPPER_141 = "HOPPER_141"
    BLACKWELL_96 = "BLACKWELL_96"
    BLACKWELL_180 = "BLACKWELL_180"

    @classmethod
    def all(cls) -> list["GpuGroup"]:
        """Every pool, without `ANY`."""
        return [group for group in cls if group is not cls.ANY]

    @classmethod
    def to_gpu_ids_str(cls, wish: "GpuWish") -> str:
        """A wish as the `gpuIds` of Runpod's older APIs: pools, and with a minus the types of them that are refused.

        It is sorted, pools first, so the order of preference is lost: `/v2/serverless` keeps it.
        """
        pools, excluded = pools_and_exclusions(wish)
        return ",".join(
            [*sorted(pools, key=str.casefold), *sorted((f"-{kind}" for kind in excluded), key=str.casefold)]
        )

    @classmethod
    def from_gpu_ids_str(cls, text: str) -> "list[GpuGroup | GpuType]":
        """What such a text means: whole pools, and the remaining types of those with exclusions.

        Pools and types that are unknown are passed over.
        """
        tokens = [token.strip() for token in text.split(",")]
        excluded = {token[1:].strip() for token in tokens if token.startswith("-")}
        found = list[GpuGroup | GpuType]()
        for group in dict.fromkeys(group for token in tokens for group in POOLS if group.value == token):
            kept = [kind for kind in POOLS[group] if kind.value not in excluded]
            found.extend([group] if len(kept) == len(POOLS[group]) else kept)
        return found

    @classmethod
    def normalize_gpu_ids_str(cls, text: str) -> str:
        """Such a text in its one order, each token once; unknown tokens stay."""
        tokens = {token.strip() for token in text.split(",") if token.strip()}
        return ",".join(sorted(tokens, key=lambda token: (token.startswith("-"), token.casefold())))


class GpuType(Enum):
    """One type of GPU, by the name that its driver and Runpod give it. `ANY` is every type."""

    ANY = "any"
    NVIDIA_GEFORCE_RTX_4090 = "NVIDIA GeForce RTX 4090"
    NVIDIA_GEFORCE_RTX_5090 = "NVIDIA GeForce RTX 5090"
    NVIDIA_RTX_6000_ADA_GENERATION = "NVIDIA RTX 6000 Ada Generation"
    NVIDIA_L40 = "NVIDIA L40"
    NVIDIA_L40S = "NVIDIA L40S"
    NVIDIA_RTX_PRO_6000_BLACKWELL_SERVER_EDITION = "NVIDIA RTX PRO 6000 Blackwell Server Edition"
    NVIDIA_RTX_PRO_6000_BLACKWELL_WORKSTATION_EDITION = "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"
    NVIDIA_RTX_PRO_6000_BLACKWELL_MAX_Q_WORKSTATION_EDITION = "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition"
    NVIDIA_H100_80GB_HBM3 = "NVIDIA H100 80GB HBM3"
    NVIDIA_H100_PCIe = "NVIDIA H100 PCIe"
    NVIDIA_H100_NVL = "NVIDIA H100 NVL"
    NVIDIA_RTX_A4000 = "NVIDIA RTX A4000"
    NVIDIA_RTX_A4500 = "NVIDIA RTX A4500"
    NVIDIA_RTX_4000_ADA_GENERATION = "NVIDIA RTX 4000 Ada Generation"
    NVIDIA_RTX_2000_ADA_GENERATION = "NVIDIA RTX 2000 Ada Generation"
    NVIDIA_RTX_A5000 = "NVIDIA RTX A5000"
    NVIDIA_L4 = "NVIDIA L4"
    NVIDIA_GEFORCE_RTX_3090 = "NVIDIA GeForce RTX 3090"
    NVIDIA_A40 = "NVIDIA A40"
    NVIDIA_RTX_A6000 = "NVIDIA RTX A6000"
    NVIDIA_A100_80GB_PCIe = "NVIDIA A100 80GB PCIe"
    NVIDIA_A100_SXM4_80GB = "NVIDIA A100-SXM4-80GB"
    NVIDIA_H200 = "NVIDIA H200"
    NVIDIA_B200 = "NVIDIA B200"

    @classmethod
    def all(cls) -> list["GpuType"]:
        """Every type, without `ANY`."""
        return [kind for kind in cls if kind is not cls.ANY]

    @classmethod
    def is_gpu_type(cls, name: str) -> bool:
        """Whether `name` is the name of a type (its value)."""
        return any(kind.value == name for kind in cls)

    @property
    def memory_gb(self) -> int:
        """Memory of one GPU in GB; 0 for `ANY`."""
        return _MEMORY_GB.get(self, 0)


class CpuInstanceType(StrEnum):
    """A size of CPU worker: flavor, number of vCPUs, memory in GB."""

    CPU3G_1_4 = "cpu3g-1-4"
    CPU3G_2_8 = "cpu3g-2-8"
    CPU3G_4_16 = "cpu3g-4-16"
    CPU3G_8_32 = "cpu3g-8-32"
    CPU3C_1_2 = "cpu3c-1-2"
    CPU3C_2_4 = "cpu3c-2-4"
    CPU3C_4_8 = "cpu3c-4-8"
    CPU3C_8_16 = "cpu3c-8-16"
    CPU5C_1_2 = "cpu5c-1-2"
    CPU5C_2_4 = "cpu5c-2-4"
    CPU5C_4_8 = "cpu5c-4-8"
    CPU5C_8_16 = "cpu5c-8-16"

    @property
    def flavor(self) -> str:
        """Generation and kind, e.g. "cpu3c"."""
        return self.value.split("-")[0]

    @property
    def vcpu(self) -> int:
        """Number of vCPUs."""
        return int(self.value.split("-")[1])

    @property
    def memory_gb(self) -> int:
        """Memory in GB."""
        return int(self.value.split("-")[2])


class DataCenter(StrEnum):
    """Runpod's data centers. Four are no longer offered but keep their names, which older programs use."""

    US_CA_2 = "US-CA-2"
    US_IL_1 = "US-IL-1"
    US_KS_2 = "US-KS-2"
    US_MO_1 = "US-MO-1"
    US_MO_2 = "US-MO-2"
    US_NC_2 = "US-NC-2"
    US_NE_1 = "US-NE-1"
    US_WA_1 = "US-WA-1"
    EU_CZ_1 = "EU-CZ-1"
    EU_RO_1 = "EU-RO-1"
    EUR_NO_1 = "EUR-NO-1"
    US_GA_2 = "US-GA-2"
    US_MD_1 = "US-MD-1"
    US_NC_1 = "US-NC-1"
    EUR_IS_1 = "EUR-IS-1"

    @property
    def offered(self) -> bool:
        """Whether new endpoints can be placed there."""
        return self not in _WITHDRAWN

    @classmethod
    def all(cls) -> list["DataCenter"]:
        """Every data center that is offered."""
        return [center for center in cls if center.offered]

    @classmethod
    def from_string(cls, text: str) -> "DataCenter":
        """The data center that `text` names; case and `_` for `-` do not matter. Raises ValueError."""
        name = text.strip().upper().replace("_", "-")
        for center in cls:
            if center.value == name:
                return center
        raise ValueError(
            f"there is no data center {text!r}; there are {', '.join(center.value for center in cls.all())}"
        )


class CudaVersion(Enum):
    """CUDA versions that a worker's driver can be asked to support."""

    V11_1 = "11.1"
    V11_4 = "11.4"
    V11_7 = "11.7"
    V11_8 = "11.8"
    V12_0 = "12.0"
    V12_1 = "12.1"
    V12_2 = "12.2"
    V12_3 = "12.3"
    V12_4 = "12.4"
    V12_5 = "12.5"
    V12_6 = "12.6"
    V12_7 = "12.7"
    V12_8 = "12.8"
    V12_9 = "12.9"
    V13_0 = "13.0"


class ServerlessScalerType(Enum):
    """What the number of workers follows: how long jobs wait, or how many there are."""

    QUEUE_DELAY = "QUEUE_DELAY"
    REQUEST_COUNT = "REQUEST_COUNT"


class ServerlessType(Enum):
    """Kinds of endpoints: queue-based and load-balanced."""

    QB = "QB"
    LB = "LB"


GpuWish: TypeAlias = Sequence[GpuGroup | GpuType]
"""What a user accepts, the best first."""

CPU_DATACENTERS = frozenset({DataCenter.EU_RO_1})
"""The data centers that offer CPU workers."""

POOLS: dict[GpuGroup, tuple[GpuType, ...]] = {
    GpuGroup.ADA_24: (GpuType.NVIDIA_GEFORCE_RTX_4090,),
    GpuGroup.ADA_32_PRO: (GpuType.NVIDIA_GEFORCE_RTX_5090,),
    GpuGroup.ADA_48_PRO: (GpuType.NVIDIA_RTX_6000_ADA_GENERATION, GpuType.NVIDIA_L40, GpuType.NVIDIA_L40S),
    GpuGroup.ADA_80_PRO: (GpuType.NVIDIA_H100_PCIe, GpuType.NVIDIA_H100_80GB_HBM3, GpuType.NVIDIA_H100_NVL),
    GpuGroup.AMPERE_16: (
        GpuType.NVIDIA_RTX_A4000,
        GpuType.NVIDIA_RTX_A4500,
        GpuType.NVIDIA_RTX_4000_ADA_GENERATION,
        GpuType.NVIDIA_RTX_2000_ADA_GENERATION,
    ),
    GpuGroup.AMPERE_24: (GpuType.NVIDIA_RTX_A5000, GpuType.NVIDIA_L4, GpuType.NVIDIA_GEFORCE_RTX_3090),
    GpuGroup.AMPERE_48: (GpuType.NVIDIA_A40, GpuType.NVIDIA_RTX_A6000),
    GpuGroup.AMPERE_80: (GpuType.NVIDIA_A100_80GB_PCIe, GpuType.NVIDIA_A100_SXM4_80GB),
    GpuGroup.HOPPER_141: (GpuType.NVIDIA_H200,),
    GpuGroup.BLACKWELL_96: (
        GpuType.NVIDIA_RTX_PRO_6000_BLACKWELL_SERVER_EDITION,
        GpuType.NVIDIA_RTX_PRO_6000_BLACKWELL_WORKSTATION_EDITION,
        GpuType.NVIDIA_RTX_PRO_6000_BLACKWELL_MAX_Q_WORKSTATION_EDITION,
    ),
    GpuGroup.BLACKWELL_180: (GpuType.NVIDIA_B200,),
}
"""Which types each pool holds. Every type is in exactly one."""

RAM_GB_PER_VCPU = {"cpu3c": 2, "cpu3g": 4, "cpu5c": 2, "cpu5g": 4}
"""Memory of a CPU worker for each of its vCPUs, by flavor."""

_WITHDRAWN = frozenset({DataCenter.US_GA_2, DataCenter.US_MD_1, DataCenter.US_NC_1, DataCenter.EUR_IS_1})

_POOL_OF = {kind: group for group, kinds in POOLS.items() for kind in kinds}

_POOL_MEMORY_GB = {
    GpuGroup.ADA_24: 24, GpuGroup.ADA_32_PRO: 32, GpuGroup.ADA_48_PRO: 48, GpuGroup.ADA_80_PRO: 80,
    GpuGroup.AMPERE_16: 16, GpuGroup.AMPERE_24: 24,
    GpuGroup.AMPERE_48: 48, GpuGroup.AMPERE_80: 80, GpuGroup.HOPPER_141: 141,
    GpuGroup.BLACKWELL_96: 96, GpuGroup.BLACKWELL_180: 180,
}  # fmt: skip

_MEMORY_GB = {kind: _POOL_MEMORY_GB[group] for kind, group in _POOL_OF.items()} | {
    GpuType.NVIDIA_H100_NVL: 94,
    GpuType.NVIDIA_RTX_A4500: 20,
    GpuType.NVIDIA_RTX_4000_ADA_GENERATION: 20,
}


def pools_and_exclusions(wish: GpuWish) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A wish in the words of the API: the pools, best first, and the types of them that are not accepted.

    A type stands for its pool without the other types of it, unless the wish names the pool or those types too.
    """
    groups, types = _expand(wish)
    pools = tuple(dict.fromkeys(group for group, _ in _in_order(wish)))
    excluded = [kind for pool in pools if pool not in groups for kind in POOLS[pool] if kind not in types]
    return tuple(pool.value for pool in pools), tuple(kind.value for kind in excluded)


def acceptable_types(wish: GpuWish) -> tuple[GpuType, ...]:
    """Every type that a wish accepts, in the order of the wish; types of one pool in the pool's order."""
    return tuple(dict.fromkeys(kind for _, kinds in _in_order(wish) for kind in kinds))


def types_in(pools: Iterable[str], excluded: Iterable[str] = (), preferred: Sequence[str] = ()) -> tuple[GpuType, ...]:
    """The types that `pools` hold without `excluded` ones, all by their API names; `preferred` ones come first.

    Unknown names are passed over.
    """
    known, refused = {group.value: group for group in POOLS}, frozenset(excluded)
    held = [kind for pool in pools if pool in known for kind in POOLS[known[pool]] if kind.value not in refused]
    places = {name: place for place, name in enumerate(preferred)}
    return tuple(sorted(dict.fromkeys(held), key=lambda kind: places.get(kind.value, len(places))))


def preference(wish: GpuWish) -> tuple[str, ...]:
    """The types of a wish by their API names, in its order, where its pools alone do not say it; else nothing."""
    wanted = acceptable_types(wish)
    return () if wanted == types_in(*pools_and_exclusions(wish)) else tuple(kind.value for kind in wanted)


def _expand(wish: GpuWish) -> tuple[set[GpuGroup], set[GpuType]]:
    if GpuGroup.ANY in wish or GpuType.ANY in wish:
        return set(POOLS), set()
    return {item for item in wish if isinstance(item, GpuGroup)}, {item for item in wish if isinstance(item, GpuType)}


def _in_order(wish: GpuWish) -> list[tuple[GpuGroup, tuple[GpuType, ...]]]:
    found: list[tuple[GpuGroup, tuple[GpuType, ...]]] = []
    for item in wish:
        if item in (GpuGroup.ANY, GpuType.ANY):
            found.extend(POOLS.items())
        elif isinstance(item, GpuGroup):
            found.append((item, POOLS[item]))
        else:
            found.append((_POOL_OF[item], (item,)))
    return found
