"""The machine's GPUs and who holds them."""

from collections.abc import Sequence
from dataclasses import dataclass

import pynvml

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


def detect() -> tuple[Gpu, ...]:
    """The devices that the NVIDIA driver reports; none where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_device(index) for index in range(pynvml.nvmlDeviceGetCount()))
    finally:
        pynvml.nvmlShutdown()


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
    """Hands devices out and takes them back."""

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        self.gpus = tuple(gpus)
        self._free = list(self.gpus)

    def acquire(self, types: Sequence[str], count: int) -> Grant | None:
        """Take `count` devices for a worker, of the first type in `types` (order of preference) that has enough free.

        A machine without any GPU gives an empty grant, one without the asked types gives other devices; both say so in
        the grant's notice. None: all suitable devices are in use at the moment.

        Raises:
            Infeasible: the machine has GPUs, but fewer than `count`.
        """
        if not self.gpus:
            return Grant(notice="this machine has no GPU, so it runs on the CPU")
        if count > len(self.gpus):
            raise Infeasible(f"gpu_count is {count}, this machine has {len(self.gpus)}: {self._said()}")
        for kind in types:
            if sum(gpu.type == kind for gpu in self.gpus) >= count:
                chosen = [gpu for gpu in self._free if gpu.type == kind][:count]
                if len(chosen) == count:
                    return self._take(chosen, None)
        if any(sum(gpu.type == kind for gpu in self.gpus) >= count for kind in types):
            return None
        chosen = self._free[:count]
        if len(chosen) < count:
            return None
        return self._take(
            chosen, f"this machine has {self._said()} and not the GPU that was asked for; it is used instead"
        )

    def release(self, grant: Grant) -> None:
        """Give a grant's devices back."""
        self._free = sorted([*self._free, *grant.gpus], key=lambda gpu: gpu.index)

    def _take(self, chosen: Sequence[Gpu], notice: str | None) -> Grant:
        self._free = [gpu for gpu in self._free if gpu not in chosen]
        return Grant(tuple(chosen), notice)

    def _said(self) -> str:
        kinds = sorted({gpu.type for gpu in self.gpus})
        return ", ".join(f"{sum(gpu.type == kind for gpu in self.gpus)} × {kind}" for kind in kinds)


def _device(index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    name = pynvml.nvmlDeviceGetName(handle)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total
    return Gpu(index, name if isinstance(name, str) else name.decode(), round(memory / 1024**3))
