"""Prime numbers as they are found, from a generator that runs on a worker.

The numbers appear one by one while the worker searches. The search has no end of its own: when this program has seen
enough it stops reading, which closes the generator on its worker.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

from runpod_flash import Endpoint, progress

ENOUGH = 10


@Endpoint(name="primes", cpu="cpu3c-1-2")
def primes(above: int) -> Iterator[int]:
    """All prime numbers above a number, in order, without end."""
    candidate = above + 1
    try:
        while True:
            if candidate > 1 and all(candidate % divisor for divisor in range(2, int(candidate**0.5) + 1)):
                yield candidate
            candidate += 1
    finally:
        print(f"the reader has left; {candidate} was looked at last")  # on the worker; its output comes here, too


@Endpoint(name="countdown", cpu="cpu3c-1-2", max_concurrency=4)
async def countdown(name: str, seconds: int) -> AsyncIterator[str]:
    """A line for each tenth of a second; several of them run in one worker at a time."""
    for left in range(10 * seconds, 0, -1):
        progress(10 * seconds - left, 10 * seconds, name)
        await asyncio.sleep(0.1)
        yield f"{name} {left / 10:.1f}"


async def follow(name: str) -> int:
    """Read a countdown to its end; how many lines it had."""
    return len([line async for line in countdown.stream(name, 1)])


async def main() -> None:
    """Read some primes, then three countdowns at once."""
    found = []
    async with primes.stream(10**9) as stream:
        async for prime in stream:
            found.append(prime)
            print(prime)
            if len(found) == ENOUGH:
                break
    lines = await asyncio.gather(*(follow(name) for name in ("one", "two", "three")))
    print(f"{len(found)} primes; countdowns of {', '.join(map(str, lines))} lines")


if __name__ == "__main__":
    asyncio.run(main())
