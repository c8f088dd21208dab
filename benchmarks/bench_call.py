"""How long a warm call takes, and 300 gathered ones, beside a process pool of the standard library in the same run."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from statistics import median

from timing import report

from runpod_flash import Endpoint

SINGLE, MANY, WORKERS = 200, 300, 2


def nothing(x: int) -> int:
    """The function that is called."""
    return x


remote_nothing = Endpoint(name="bench-call", cpu="cpu3c-1-2", workers=(WORKERS, WORKERS))(nothing)


async def measure(call: Callable[[int], Awaitable[int]]) -> tuple[float, float]:
    """Median of single calls and the time of many at once, both in milliseconds, after a warm-up."""
    await asyncio.gather(*(call(i) for i in range(20)))
    singles = []
    for i in range(SINGLE):
        start = time.perf_counter()
        await call(i)
        singles.append((time.perf_counter() - start) * 1e3)
    start = time.perf_counter()
    assert await asyncio.gather(*(call(i) for i in range(MANY))) == list(range(MANY))
    return median(singles), (time.perf_counter() - start) * 1e3


async def main() -> None:
    """Measure both and print."""
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(WORKERS) as pool:
        pool_one, pool_many = await measure(lambda x: loop.run_in_executor(pool, nothing, x))
    ours_one, ours_many = await measure(remote_nothing)
    report(
        "call",
        {
            "call_ms": ours_one,
            "pool_call_ms": pool_one,
            "call_ratio": ours_one / pool_one,
            f"gather_{MANY}_ms": ours_many,
            f"pool_gather_{MANY}_ms": pool_many,
            "gather_ratio": ours_many / pool_many,
        },
    )


if __name__ == "__main__":
    asyncio.run(main())
