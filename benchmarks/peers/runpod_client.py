"""Requests by the client of the `runpod` package: `python runpod_client.py BASE ID KEY`; the same for all servers."""

import asyncio
import sys
import time

import runpod
from serving import serve


class RunpodClient:
    """What can be asked."""

    def __init__(self, base: str, endpoint: str, key: str) -> None:
        runpod.endpoint_url_base = base
        self.endpoint = runpod.Endpoint(endpoint, api_key=key)
        for _ in range(20):
            self.one()

    def one(self) -> None:
        """One request, whose answer is looked at."""
        output = self.endpoint.run_sync({"x": 7})
        assert output == 7, output

    async def latency(self, count):
        """Single requests, one after the other: seconds of each."""
        self.one()  # the connection may have been idle for longer than the server keeps it
        times = []
        for _ in range(count):
            start = time.perf_counter()
            self.endpoint.run_sync({"x": 7})
            times.append(time.perf_counter() - start)
        self.one()
        return times


if __name__ == "__main__":
    asyncio.run(serve(RunpodClient(*sys.argv[1:])))
