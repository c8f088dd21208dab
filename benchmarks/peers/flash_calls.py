"""Calls of decorated functions: `python flash_calls.py FUNCTION LEAST MOST [NAME]`."""

import asyncio
import sys
import time

from serving import memory_begins, memory_peak, serve

from runpod_flash import Endpoint

SIZE = "cpu3c-2-4"


def nothing(x):
    """Gives what it got."""
    return x


def sleep(seconds):
    """Waits."""
    import time

    time.sleep(seconds)


def burn(seconds):
    """Uses so much time of a processor."""
    import time

    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def torch_draw(held):
    """Draws with torch; holds its worker so long."""
    import os
    import time

    import torch

    drawn = float(torch.rand(3).sum())
    time.sleep(held)
    return drawn, os.environ["RUNPOD_POD_ID"]


def installed(x):
    """Needs a package that the caller has in another version."""
    import requests

    return requests.__version__


class FlashCalls:
    """What can be asked."""

    def __init__(self, function: str, least: int, most: int, name: str) -> None:
        self.plain = globals()[function]
        self.call = self.declare(name or f"bench-{function}", least, most)

    def declare(self, name, least, most, **options):
        """The function on an endpoint of this name."""
        return Endpoint(name=name, cpu=SIZE, workers=(least, most), **options)(self.plain)

    async def latency(self, count, given=0):
        """Single calls, one after the other: seconds of each."""
        times = []
        for _ in range(count):
            start = time.perf_counter()
            await self.call(given)
            times.append(time.perf_counter() - start)
        return times

    async def gather(self, count):
        """So many calls at once: seconds, and what they add to this process's memory at most, in MB."""
        before, start = memory_begins(), time.perf_counter()
        values = await asyncio.gather(*(self.call(number) for number in range(count)))
        seconds = time.perf_counter() - start
        assert values == list(range(count)), "a wrong value"
        return {"seconds": seconds, "added_mb": memory_peak() - before}

    async def flow(self, count, in_flight):
        """So many calls, of which so many are under way at a time: seconds."""

        async def some(numbers):
            for number in numbers:
                assert await self.call(number) == number, "a wrong value"

        start = time.perf_counter()
        await asyncio.gather(*(some(range(first, count, in_flight)) for first in range(in_flight)))
        return time.perf_counter() - start

    async def tasks(self, count, given):
        """So many tasks at once: seconds."""
        start = time.perf_counter()
        await asyncio.gather(*(self.call(given) for _ in range(count)))
        return time.perf_counter() - start

    async def array(self, megabytes, count):
        """Arrays there and back: seconds of each."""
        import numpy as np

        times = []
        for number in range(count):
            given = np.random.default_rng(number).random(megabytes * 125_000)
            start = time.perf_counter()
            back = await self.call(given)
            times.append(time.perf_counter() - start)
            assert back.nbytes == given.nbytes, "another array came back"
            assert (back[0], back[-1]) == (given[0], given[-1]), "another array came back"
            del back, given
        return times

    async def first(self, name, given=0, **options):
        """A call on an endpoint that is there and has no worker: seconds until its result."""
        call = self.declare(name, 0, 1, **options)
        await call.provision.aio()
        start = time.perf_counter()
        await call(given)
        return time.perf_counter() - start

    async def first_of_all(self, name, **options):
        """The same on an endpoint that nobody knows yet."""
        call = self.declare(name, 0, 1, **options)
        start = time.perf_counter()
        value = await call(0)
        return {"seconds": time.perf_counter() - start, "value": value}

    async def first_worker(self, name):
        """A call on an endpoint that nobody knows yet: what was drawn, and the worker that did."""
        return await self.declare(name, 0, 2)(0)

    async def second_worker(self, name, first, held_s):
        """While its first worker is held, another call: seconds until its result, from a worker that is new."""
        call = self.declare(name, 0, 2)
        holding = await call.spawn.aio(held_s)
        while (await holding.status.aio()) == "IN_QUEUE":  # noqa: ASYNC110 a job has no event for that
            await asyncio.sleep(0.01)
        start = time.perf_counter()
        drawn, second = await call(0)
        seconds = time.perf_counter() - start
        assert second != first[1], "the first worker ran both: it was not held long enough"
        assert drawn != first[0], "both workers drew the same"
        await holding.result.aio()
        return seconds

    async def provision(self, names):
        """Endpoints without workers."""
        for name in names:
            await self.declare(name, 0, 1).provision.aio()

    async def queue(self, count, given):
        """So many jobs that wait, behind those that hold the workers."""
        await asyncio.gather(*(self.call.spawn.aio(given) for _ in range(count)))


async def main():
    """Make the workers, then serve."""
    function, least, most, *name = sys.argv[1:]
    peer = FlashCalls(function, int(least), int(most), *(name or [""]))
    if int(least):
        given = 0 if function != "burn" else 0.001
        await asyncio.gather(*(peer.call(given) for _ in range(20 * int(least))))
    await serve(peer)


if __name__ == "__main__":
    asyncio.run(main())
