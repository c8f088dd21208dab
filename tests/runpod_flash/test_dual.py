"""A method that blocks where there is no event loop, and is awaited where there is one."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from runpod_flash.dual import Dual


async def doubled(x: int, *, plus: int = 0) -> int:
    return 2 * x + plus


def run(coroutine: Coroutine[Any, Any, int]) -> int:
    return asyncio.run(coroutine)


def test_it_blocks_or_is_awaited() -> None:
    method = Dual(doubled, run)
    assert method(2, plus=1) == 5
    assert method.blocking(3) == 6

    async def main() -> list[int]:
        return [await method(2), await method.aio(2, plus=1)]

    assert asyncio.run(main()) == [4, 5]
