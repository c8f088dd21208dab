"""Matrix products on a GPU, through an endpoint: `python gpu_calls.py DEVICE`."""

import asyncio
import sys
import time

from serving import serve

from runpod_flash import Endpoint, GpuGroup

SLOT = {}


def product(size, device):
    """Multiplies two matrices that stay on the device: the seconds until the first element has been read back."""
    import time

    import torch

    if (size, device) not in SLOT:
        SLOT[size, device] = torch.rand(size, size, device=device), torch.rand(size, size, device=device)
    left, right = SLOT[size, device]
    start = time.perf_counter()
    float((left @ right)[0, 0])
    return time.perf_counter() - start


def back(tensor):
    """Gives the tensor that it got."""
    return tensor


class GpuCalls:
    """What can be asked."""

    def __init__(self, device: str) -> None:
        self.device = device

    def declare(self, function, name):
        """The function on an endpoint that gives its device back as soon as nothing is to be done."""
        return Endpoint(name=name, gpu=GpuGroup.ANY, workers=(0, 1), idle_timeout=2)(function)

    async def products(self, size, count):
        """Products one after the other: seconds of each for the caller, and in the function."""
        call = self.declare(product, "gpu-products")
        times = []
        for _ in range(count):
            start = time.perf_counter()
            inside = await call(size, self.device)
            times.append((time.perf_counter() - start, inside))
        return times

    async def tensors(self, megabytes, count):
        """Tensors on the CPU, there and back: seconds of each."""
        import torch

        call, times = self.declare(back, "gpu-tensors"), []
        for _ in range(count):
            given = torch.rand(megabytes * 250_000)
            start = time.perf_counter()
            found = await call(given)
            times.append(time.perf_counter() - start)
            assert found.shape == given.shape
            assert (found[0], found[-1]) == (given[0], given[-1]), "another tensor came back"
        return times

    async def first(self, size):
        """The product of an endpoint that has no worker any more: seconds until it is there."""
        call = self.declare(product, "gpu-products")
        await call.provision.aio()
        endpoint = Endpoint(id=call.id)
        while sum((await endpoint.health.aio())["workers"].values()):  # noqa: ASYNC110 another process ends
            await asyncio.sleep(0.1)
        start = time.perf_counter()
        await call(size, self.device)
        return time.perf_counter() - start


async def main():
    """Serve."""
    await serve(GpuCalls(sys.argv[1]))


if __name__ == "__main__":
    asyncio.run(main())
