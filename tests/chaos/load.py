"""The load of the chaos tests, a client program: `python -m tests.chaos.load FOLDER JOBS IN_FLIGHT ONCE_EVERY SHORTER`.

Every call notes its start in FOLDER/starts (a line with its number) and gives a value that follows from its number. The
program keeps IN_FLIGHT calls under way, makes at least JOBS of them and goes on until FOLDER/enough exists. What it
gets it writes to FOLDER/results, a line for each: number, job, value. Each refused submit is a line in FOLDER/refusals.
Where it was killed and is started again, it first comes back to the jobs that it has submitted. Every ONCE_EVERYth call
(0: none) may start once only: it may be lost, and then its value is null. Calls take 1 to 50 ms, divided by SHORTER.
"""

import asyncio
import itertools
import json
import sys
from pathlib import Path

from runpod_flash import Endpoint
from runpod_flash.errors import BackendError, WorkerLost
from runpod_flash.job import EndpointJob

WORKERS = 2

REFUSED = "nothing new is accepted", "the disk is full"
"""How a platform refuses a submit whose disk is full: it has seen that before, or finds it out at the write."""


@Endpoint(name="chaos", cpu="cpu3c-1-2", workers=(WORKERS, WORKERS), retries=1000)
def work(number: int, folder: str, shorter: int = 1) -> tuple[int, int]:
    """Takes 1 to 50 ms by `shorter`; its value shows that it ran, and with which number."""
    import os
    import time

    descriptor = os.open(os.path.join(folder, "starts"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{number}\n".encode())
    os.close(descriptor)
    time.sleep((1 + number * 7919 % 50) / 1000 / shorter)
    return number, value_of(number)


@Endpoint(name="once", cpu="cpu3c-1-2", workers=(1, 1), retries=0)
def work_once(number: int, folder: str, shorter: int = 1) -> tuple[int, int]:
    """The same, at most once."""
    return work.local(number, folder, shorter)


def value_of(number: int) -> int:
    """What a call gives."""
    return number * number + 7


class Load:
    """Calls under way, and what came of them."""

    def __init__(self, folder: Path, in_flight: int, once_every: int, shorter: int) -> None:
        self.folder = folder
        self.once_every = once_every
        self.shorter = shorter
        self.gate = asyncio.Semaphore(in_flight)

    async def come_back(self) -> set[int]:
        """The numbers that an earlier run of this program has submitted, whose results are noted now."""
        jobs = await work.recover.aio()
        values = await asyncio.gather(*(job.result.aio() for job in jobs))
        for job, value in zip(jobs, values, strict=True):
            self.note(value[0], job, value)
        return {number for number, _ in values}

    async def one(self, number: int) -> None:
        """One call from its submit to its line in the results."""
        try:
            job = await self.submit(number)
            try:
                self.note(number, job, await job.result.aio())
            except WorkerLost:
                if not self.may_start_once(number):
                    raise
                self.note(number, job, None)
        finally:
            self.gate.release()

    def may_start_once(self, number: int) -> bool:
        """Whether this is a call without a second start."""
        return self.once_every > 0 and number % self.once_every == 0

    async def submit(self, number: int) -> EndpointJob[tuple[int, int]]:
        """Submit until it is accepted: a full disk refuses for a while."""
        while True:
            try:
                called = work_once if self.may_start_once(number) else work
                return await called.spawn.aio(number, str(self.folder), self.shorter)
            except BackendError as error:
                if not any(words in str(error) for words in REFUSED):
                    raise
                self.append("refusals", str(error))
                await asyncio.sleep(0.2)

    def note(self, number: int, job: EndpointJob[tuple[int, int]], value: tuple[int, int] | None) -> None:
        """Write down a result."""
        self.append("results", json.dumps([number, job.id, value]))

    def append(self, name: str, line: str) -> None:
        """Write one line, whole or not at all."""
        with (self.folder / name).open("a") as file:
            file.write(line.replace("\n", " ") + "\n")


async def main(folder: Path, jobs: int, in_flight: int, once_every: int, shorter: int) -> None:
    """Run the load to its end."""
    load = Load(folder, in_flight, once_every, shorter)
    known = await load.come_back()
    async with asyncio.TaskGroup() as group:
        for number in itertools.count():
            if number >= jobs and (folder / "enough").exists():
                break
            if number not in known:
                await load.gate.acquire()
                group.create_task(load.one(number))
    print(json.dumps({"jobs": number}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
