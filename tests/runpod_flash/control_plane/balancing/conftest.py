"""Fixtures for load balancing. Tests here are coroutines, run by anyio's plugin on asyncio."""

from collections.abc import AsyncIterator

import pytest

from tests.support.balanced import Balanced, balanced


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def plane(anyio_backend: str) -> AsyncIterator[Balanced]:
    async with balanced() as plane:
        yield plane
