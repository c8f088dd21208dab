"""The long-lived client of the soak: `python -m tests.chaos.soak_load FOLDER`.

It makes calls of each kind, one after another in a few coroutines, and checks every value; the first wrong one ends it
with an error. It keeps how many of each kind it has made in FOLDER/calls. SIGTERM lets it end well.
"""

import asyncio
import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from runpod_flash import Endpoint
from runpod_flash.errors import JobCancelled

MEGABYTE = 1024**2
VICTIM = "soak-victim"
"""The endpoint whose worker is killed. Those of the others live as long as the soak, so that they can grow."""

steady = Endpoint("soak-steady", cpu="cpu3c-1-2", workers=(2, 2))


@steady
def square(number: int) -> int:
    """A short call."""
    return value_of(number)


@steady
def turned(data: bytes) -> bytes:
    """A call with a large argument and a large result."""
    return data[::-1]


@steady
def refuse(number: int) -> None:
    """A call that raises."""
    raise LookupError(f"refused {number}")


@steady
def say(number: int) -> int:
    """A call that prints."""
    print(line_of(number))
    return value_of(number)


@Endpoint("soak-cancelled", cpu="cpu3c-1-2", workers=(1, 1))
def linger(number: int) -> int:
    """Takes up to 0.7 s, if nobody cancels it before."""
    time.sleep(number % 70 / 100)
    return value_of(number)


@Endpoint(VICTIM, cpu="cpu3c-1-2", workers=(1, 1), retries=1000)
def endure(number: int) -> int:
    """A call that may run more than once, as its worker may be killed."""
    time.sleep(number % 50 / 1000)
    return value_of(number)


class Tally:
    """An object that lives on a worker; large enough that a forgotten one is seen."""

    def __init__(self, start: int) -> None:
        self.value = start
        self.ballast = os.urandom(200_000)

    def add(self, number: int) -> int:
        """The sum so far."""
        self.value += number
        return self.value


RemoteTally = Endpoint("soak-objects", cpu="cpu3c-1-2", workers=(1, 1))(Tally)


def value_of(number: int) -> int:
    """What a call gives."""
    return number * number + 7


def line_of(number: int) -> str:
    """What a call prints."""
    return f"said {number}"


def expect(found: object, wanted: object, what: str) -> None:
    """Fail where a value is not the right one."""
    assert found == wanted, f"{what}: {found!r:.200} instead of {wanted!r:.200}"


async def short(number: int) -> None:
    """A short call has its value."""
    expect(await square(number), value_of(number), f"square({number})")


async def large(number: int) -> None:
    """A megabyte goes and comes back."""
    data = random.randbytes(MEGABYTE)
    expect(await turned(data) == data[::-1], True, f"a megabyte, call {number}")


async def raising(number: int) -> None:
    """The function's own exception arrives."""
    try:
        await refuse(number)
    except LookupError as error:
        expect(error.args, (f"refused {number}",), "the exception")
    else:
        raise AssertionError(f"refuse({number}) has not raised")


async def printing(number: int) -> None:
    """What a call prints is kept with its job, beside its value."""
    job = await say.spawn.aio(number)
    expect(await job.result.aio(), value_of(number), f"say({number})")
    expect(await job.logs.aio(), [line_of(number)], f"the lines of say({number})")


async def counting(number: int) -> None:
    """An object is made, keeps its state and is dropped, by its handle's end or expressly."""
    tally: Any = RemoteTally(number)
    total = number
    for step in range(1, 5):
        total += step
        expect(await tally.add(step), total, f"step {step} of object {number}")
    if number % 2:
        await tally.aclose()


async def cancelling(number: int) -> None:
    """A call is cancelled, by its task or its job, or is done before; afterwards the next one runs."""
    pause_s = number % 40 / 100
    if number % 2:
        task = asyncio.ensure_future(linger(number))
        await asyncio.wait([task], timeout=pause_s)
        task.cancel()
        await asyncio.wait([task])
        value = value_of(number) if task.cancelled() else task.result()
    else:
        job = await linger.spawn.aio(number)
        await asyncio.sleep(pause_s)
        await job.cancel.aio()
        try:
            value = await job.result.aio()
        except JobCancelled:
            value = value_of(number)
    expect(value, value_of(number), f"linger({number})")


async def surviving(number: int) -> None:
    """A call has its value though workers are killed."""
    expect(await endure(number), value_of(number), f"endure({number})")


KINDS: dict[str, tuple[Callable[[int], Awaitable[None]], int, float]] = {
    "short": (short, 8, 0.1),
    "on a worker that is killed": (surviving, 2, 0.1),
    "cancelled": (cancelling, 2, 0.5),
    "raising": (raising, 1, 0.2),
    "printing": (printing, 1, 0.25),
    "on an object, four each": (counting, 2, 0.5),
    "1 MB there and back": (large, 1, 1.0),
}
"""By name: what one does, how many coroutines do it, and the seconds from one to the next of each.

So the rate hardly depends on how busy the machine is, and neither does the state folder.
"""


class Load:
    """The coroutines and what they count."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "calls"
        self.done = dict.fromkeys(KINDS, 0)
        self.numbers = itertools.count()
        self.enough = asyncio.Event()

    async def repeat(self, kind: str, one: Callable[[int], Awaitable[None]], period_s: float) -> None:
        """Calls of one kind until it is enough."""
        while not self.enough.is_set():
            next_at = time.monotonic() + period_s
            await one(next(self.numbers))
            self.done[kind] += 1
            await asyncio.sleep(next_at - time.monotonic())

    async def report(self) -> None:
        """Write the counts again and again."""
        while not self.enough.is_set():
            self.write()
            await asyncio.sleep(0.25)

    def write(self) -> None:
        """Write the counts in one step."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.done))
        new.replace(self.path)


async def main(folder: Path) -> None:
    """Run the load until SIGTERM."""
    load = Load(folder)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, load.enough.set)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.report())
        for kind, (one, coroutines, period_s) in KINDS.items():
            for _ in range(coroutines):
                group.create_task(load.repeat(kind, one, period_s))
    load.write()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
