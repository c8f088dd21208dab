"""What ends a session."""

import asyncio
import os
import signal

import pytest

from flash_cli.dev.stopping import Stops


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_each_signal_asks_and_tells_its_status(number: int, status: int) -> None:
    async def test() -> None:
        with Stops().heard() as stops:
            os.kill(os.getpid(), number)
            await asyncio.wait_for(stops.asked.wait(), 10)
            assert not stops.insisted.is_set()
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.wait_for(stops.insisted.wait(), 10)
            assert stops.exit_status == status

    asyncio.run(test())


def test_a_detached_program_does_not_end_with_its_terminal() -> None:
    async def test() -> None:
        with Stops().heard() as stops:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(stops.asked.wait(), 10)
            assert stops.exit_status == 143

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        asyncio.run(test())
    finally:
        signal.signal(signal.SIGHUP, before)
