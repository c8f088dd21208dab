"""Calls of a function that marks when it begins and ends: `python traced_calls.py SOCKET`; see `wire.tracing`."""

import asyncio
import sys

from serving import serve

from runpod_flash import Endpoint
from worker_runtime.wire import trace, tracing

WARM = 50


def traced(x):
    """Gives what it got."""
    import os

    from worker_runtime.wire import trace, tracing

    if not trace.is_heard():
        tracing.begin(os.environ[tracing.VARIABLE])
    trace.mark(trace.BEGUN)
    trace.mark(trace.ENDED)
    return x


class TracedCalls:
    """What can be asked."""

    def __init__(self, name: str) -> None:
        env = {tracing.VARIABLE: name}
        self.call = Endpoint(name="bench-traced", cpu="cpu3c-2-4", workers=(1, 1), env=env)(traced)

    async def calls(self, count):
        """Single calls, one after the other."""
        for number in range(count):
            trace.mark(trace.CALLED)
            value = await self.call(number)
            trace.mark(trace.VALUE)
            assert value == number, "a wrong value"


async def main():
    """Make the worker, then serve."""
    name = sys.argv[1]
    peer = TracedCalls(name)
    await peer.calls(WARM)
    tracing.begin(name)
    await serve(peer)


if __name__ == "__main__":
    asyncio.run(main())
