"""Requests by our own client of an endpoint that is there: `python endpoint_client.py ID`."""

import asyncio
import sys
import time

from serving import serve

from runpod_flash import Endpoint


class EndpointClient:
    """What can be asked."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = Endpoint(id=endpoint)

    async def one(self) -> None:
        """One request, whose answer is looked at."""
        job = await self.endpoint.runsync({"x": 7})
        assert job.output == 7, job

    async def latency(self, count):
        """Single requests, one after the other: seconds of each."""
        await self.one()
        times = []
        for _ in range(count):
            start = time.perf_counter()
            await self.endpoint.runsync({"x": 7})
            times.append(time.perf_counter() - start)
        await self.one()
        return times


async def main():
    """Warm up, then serve."""
    client = EndpointClient(sys.argv[1])
    for _ in range(20):
        await client.one()
    await serve(client)


if __name__ == "__main__":
    asyncio.run(main())
