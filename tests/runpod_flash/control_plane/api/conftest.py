"""Fixtures for the HTTP faces. Tests here are coroutines, run by anyio's plugin on asyncio."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.plane_app import PlaneApp, plane_app


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def plane(tmp_path: Path, anyio_backend: str) -> AsyncIterator[PlaneApp]:
    async with plane_app(tmp_path) as plane:
        yield plane
