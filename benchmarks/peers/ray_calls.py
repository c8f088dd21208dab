"""The same calls by actors of Ray, by tasks where a worker must be new: `python ray_calls.py FOLDER ACTORS MB`."""

import asyncio
import sys
import time

import ray
from serving import memory_begins, memory_peak, serve


class Functions:
    """What the actors run."""

    def nothing(self, x):
        """Gives what it got."""
        return x

    def sleep(self, seconds):
        """Waits."""
        time.sleep(seconds)

    def burn(self, seconds):
        """Uses so much time of a processor."""
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass


def nothing(x):
    """Gives what it got."""
    return x


def installed(x):
    """Needs a package that the caller has in another version."""
    import requests

    return requests.__version__


class RayCalls:
    """What can be asked."""

    def __init__(self, folder: str, actors: int, store_mb: int) -> None:
        ray.init(
            address="local", _temp_dir=folder, _node_ip_address="127.0.0.1", num_cpus=2, include_dashboard=False,
            log_to_driver=False, logging_level="error", object_store_memory=store_mb * 1_000_000,
        )  # fmt: skip
        self.actors = [ray.remote(num_cpus=1)(Functions).remote() for _ in range(actors)]
        ray.get([actor.nothing.remote(0) for actor in self.actors for _ in range(20)])

    async def latency(self, count):
        """Single calls, one after the other: seconds of each."""
        times, call = [], self.actors[0].nothing
        for _ in range(count):
            start = time.perf_counter()
            ray.get(call.remote(0))
            times.append(time.perf_counter() - start)
        return times

    def _many(self, method, values):
        calls = [getattr(actor, method) for actor in self.actors]
        return ray.get([calls[number % len(calls)].remote(value) for number, value in enumerate(values)])

    async def gather(self, count):
        """So many calls at once: seconds, and what they add to this process's memory at most, in MB."""
        before, start = memory_begins(), time.perf_counter()
        values = self._many("nothing", range(count))
        seconds = time.perf_counter() - start
        assert values == list(range(count)), "a wrong value"
        return {"seconds": seconds, "added_mb": memory_peak() - before}

    async def tasks(self, function, count, given):
        """So many tasks at once: seconds."""
        start = time.perf_counter()
        self._many(function, [given] * count)
        return time.perf_counter() - start

    async def array(self, megabytes, count):
        """Arrays there and back: seconds of each."""
        import numpy as np

        times = []
        for number in range(count):
            given = np.random.default_rng(number).random(megabytes * 125_000)
            start = time.perf_counter()
            back = ray.get(self.actors[0].nothing.remote(given))
            times.append(time.perf_counter() - start)
            assert back.nbytes == given.nbytes, "another array came back"
            assert (back[0], back[-1]) == (given[0], given[-1]), "another array came back"
            del back, given
        return times

    async def first(self, turn):
        """A task that no worker process which is there may run: seconds until its result."""
        task = ray.remote(num_cpus=1)(nothing).options(runtime_env={"env_vars": {"TURN": str(turn)}})
        start = time.perf_counter()
        ray.get(task.remote(0))
        return time.perf_counter() - start

    async def first_of_all(self, requirement):
        """A task in a new environment: seconds until its result."""
        task = ray.remote(num_cpus=1)(installed).options(runtime_env={"pip": [requirement]})
        start = time.perf_counter()
        value = ray.get(task.remote(0))
        return {"seconds": time.perf_counter() - start, "value": value}


async def main():
    """Start the cluster, then serve."""
    folder, actors, store_mb = sys.argv[1:]
    peer = RayCalls(folder, int(actors), int(store_mb))
    try:
        await serve(peer)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
