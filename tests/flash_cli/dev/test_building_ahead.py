"""Builds with an interpreter that waits; nothing of it is left at the end."""

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from flash_cli.builds.building import BuildOptions
from flash_cli.dev.building_ahead import BuildingAhead
from tests.support.balanced import until
from tests.support.processes import children_with

ADD = "from runpod_flash import Endpoint\n\n@Endpoint(name='add', cpu='cpu3c-1-2')\ndef add(a: int): return a\n"


@pytest.mark.slow
def test_the_next_build_finds_an_interpreter_and_the_end_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "add.py").write_text(ADD)

    def children() -> list[psutil.Process]:
        return children_with("flash_cli.builds.discovering")

    async def test() -> None:
        builds = BuildingAhead(tmp_path, BuildOptions("app", locked=False, shared_interpreter=sys.executable))
        first = await builds.build(None)
        assert not children()
        await until(children, 30)
        (waiting,) = children()
        (tmp_path / "add.py").write_text(ADD.replace("return a", "return a + 1"))
        second = await builds.build(first)
        assert first.manifest.fingerprint != second.manifest.fingerprint
        assert not waiting.is_running() or waiting.status() == psutil.STATUS_ZOMBIE
        await until(children, 30)
        await builds.close()
        assert not children()
        await builds.close()

    asyncio.run(asyncio.wait_for(test(), 60))
