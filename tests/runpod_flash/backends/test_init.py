"""The chosen backend is loaded by name."""

import asyncio
from pathlib import Path

from runpod_flash import backends
from runpod_flash.backends.inline import InlineBackend
from runpod_flash.settings import Settings


def test_the_settings_choose() -> None:
    async def main() -> None:
        assert isinstance(await backends.connect(Settings(target="inline", home=Path()), Path()), InlineBackend)

    asyncio.run(main())
