"""The machine's GPUs and who holds them."""

from collections.abc import Sequence
from dataclasses import dataclass

from runpod_flash.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device. `index` is what CUDA_VISIBLE_DEVICES takes, memory is in GB."""

    index: int
    type: str
    memory_gb: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What a worker got: its devices, and a line for the caller where that is not what was asked for."""

    gpus: tuple[Gpu, ...] = ()
    notice: str | None = None

    @property
    def visible_devices(self) -> str:
        """The value of CUDA_VISIBLE_DEVICES; empty hides every device."""
        return ",".join(str(gpu.index) for gpu in self.gpus)


class Infeasible(Exception):
    """No worker of this machine can ever have what was asked for."""


def fake(text: str) -> tuple[Gpu, ...]:
    """A stand-in inventory from "TYPE:GB,TYPE:GB"; empty text is a machine without GPUs. Raises ConfigError."""
    gpus = []
    for index, item in enumerate(part for part in text.split(",") if part.strip()):
        kind, _, memory = item.strip().rpartition(":")
        if not kind or not memory.isdigit():
            raise ConfigError(
                f"FLASH_FAKE_GPUS has the entry {item!r}; an entry is TYPE:GB, for example 'NVIDIA L4:24'"
            )
        gpus.append(Gpu(index, kind, int(memory)))
    return tuple(gpus)


class Inventory:
    """Hands devices out and takes them back. A `strict` one gives what was asked for, or nothing.

    `cuda` is the newest version that the driver supports, None where that is not known.
    """

    def __init__(self, gpus: Sequence[Gpu], *, strict: bool = False, cuda: str | None = None) -> None:
        self.gpus = tuple(gpus)
        self.cuda = cuda
        self._strict = strict
        self._free = list(self.gpus)

    def acquire(self, types: Sequence[str], count: int) -> Grant | None:
        """Take `count` devices for a worker, of the first type in `types` (order of preference) that has enough free.

        A machine without any GPU gives an empty grant, one without the asked types gives other devices; both say so in
        the grant's notice. None: all suitable devices are in use at the moment.

        Raises:
            Infeasible: as `check`.
        """
        self.check(types, count)
        if not self.gpus:
            return Grant(notice="this machine has no GPU, so it runs on the CPU")
        suitable = self._suitable(types, count)
        for kind in suitable:
            chosen = [gpu for gpu in self._free if gpu.type == kind][:count]
            if len(chosen) == count:
                return self._take(chosen, None)
        chosen = self._free[:count]
        if suitable or len(chosen) < count:
            return None
        return self._take(
            chosen, f"this machine has {self._said()} and not the GPU that was asked for; it is used instead"
        )

    def check(self, types: Sequence[str], count: int) -> None:
        """Raise Infeasible where there are GPUs, but fewer than `count`; a strict one, where it has not that many."""
        if 0 < len(self.gpus) < count:
            raise Infeasible(f"gpu_count is {count}, this machine has {len(self.gpus)}: {self._said()}")
        if self._strict and count and not self._suitable(types, count):
            has = self._said() or "no GPU"
            raise Infeasible(f"{count} × {' or '.join(types) or 'GPU'} is asked for, this machine has {has}")

    def check_cuda(self, floor: str, allowed: Sequence[str]) -> str | None:
        """What is wrong with the driver, where it supports less than CUDA `floor` or none of the `allowed` versions.

        Empty ones ask for nothing. None: nothing is, or there is no GPU, or the driver does not say.

        Raises:
            Infeasible: something is, and this inventory is strict.
        """
        if not self.gpus or self.cuda is None:
            return None
        has = _version(self.cuda)
        if floor and has < _version(floor):
            wrong = f"its driver supports CUDA {self.cuda}, and min_cuda_version is {floor}"
        elif allowed and has not in map(_version, allowed):
            wrong = f"its driver supports CUDA {self.cuda}, and {' or '.join(allowed)} is asked for"
        else:
            return None
        if self._strict:
            raise Infeasible(f"this machine cannot be used: {wrong}; ask for a lower version, or for any (None)")
        return f"this machine is used although {wrong}"

    def missing(self, types: Sequence[str], count: int) -> tuple[frozenset[str], int]:
        """Which types of device `acquire` would take, and how many more of one of them must become free for it."""
        suitable = self._suitable(types, count)
        if not suitable:
            return frozenset(gpu.type for gpu in self.gpus), max(0, count - len(self._free))
        return frozenset(suitable), min(count - min(count, self._count(self._free, kind)) for kind in suitable)

    def release(self, grant: Grant) -> None:
        """Give a grant's devices back."""
        self._free = sorted([*self._free, *grant.gpus], key=lambda gpu: gpu.index)

    def _take(self, chosen: Sequence[Gpu], notice: str | None) -> Grant:
        self._free = [gpu for gpu in self._free if gpu not in chosen]
        return Grant(tuple(chosen), notice)

    def _suitable(self, types: Sequence[str], count: int) -> list[str]:
        return [kind for kind in types if self._count(self.gpus, kind) >= count]

    @staticmethod
    def _count(gpus: Sequence[Gpu], kind: str) -> int:
        return sum(gpu.type == kind for gpu in gpus)

    def _said(self) -> str:
        kinds = sorted({gpu.type for gpu in self.gpus})
        return ", ".join(f"{sum(gpu.type == kind for gpu in self.gpus)} × {kind}" for kind in kinds)


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
