"""Many calls: a map over endless inputs, calls that become one, failures that are tried again, progress.

Prints what came of each.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterable, AsyncIterator

from runpod_flash import Endpoint, Retries, progress


@Endpoint(name="estimate-pi", cpu="cpu3c-1-2", workers=(0, 2))
def hits(seed: int, darts: int = 200_000) -> int:
    """How many of so many darts at a square hit the circle in it."""
    thrown = random.Random(seed)
    return sum(thrown.random() ** 2 + thrown.random() ** 2 <= 1 for _ in range(darts))


@Endpoint(name="lengths", cpu="cpu3c-1-2").batched(16, 20)
def lengths(words: list[str]) -> list[tuple[int, int]]:
    """The length of each word, and how many words came together: one call of a model would do for all of them."""
    return [(len(word), len(words)) for word in words]


attempts: list[int] = []  # of this worker


@Endpoint(name="fetch", cpu="cpu3c-1-2", retries=Retries(3, on=ConnectionError, initial_delay=0.1))
def fetch(page: int) -> str:
    """Fails at first, as networks do."""
    attempts.append(page)
    if len(attempts) < 3:
        raise ConnectionError("the network is away")
    return f"page {page}, attempt {len(attempts)}"


@Endpoint(name="train", cpu="cpu3c-1-2")
def train(epochs: int) -> float:
    """Says how far it is: a bar in the terminal of the caller."""
    loss = 1.0
    for epoch in range(epochs):
        loss *= 0.9
        progress(epoch + 1, epochs, "training")
    return round(loss, 3)


async def main() -> None:
    """One after the other."""
    total = 0
    async for number, hit in numbered(hits.map(itertools.count(), concurrency=4)):  # never ends by itself
        total += hit
        if number == 10:
            break  # what still runs is cancelled
    print("pi is about", round(4 * total / 2_000_000, 2))

    found = await asyncio.gather(*map(lengths, ["so", "many", "words", "for", "one", "single", "call"]))
    print("lengths:", [length for length, _ in found], "together:", max(together for _, together in found) > 1)

    print("fetched:", await fetch(7))
    quick = train.with_options(timeout=30, queue_timeout=60)
    print("loss:", await quick(20))


async def numbered(items: AsyncIterable[int]) -> AsyncIterator[tuple[int, int]]:
    """`enumerate` for what comes asynchronously, from 1."""
    number = 0
    async for item in items:
        number += 1
        yield number, item


if __name__ == "__main__":
    asyncio.run(main())
