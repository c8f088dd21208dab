"""Added: a call of each of the two, which are the same endpoint."""

import asyncio

from runpod_flash import Endpoint, CpuInstanceType

# Use string shorthand
@Endpoint(name="data-processor", cpu="cpu5c-4-8")
async def process(data: dict) -> dict: ...

by_shorthand = process

# Or use the enum
@Endpoint(name="data-processor", cpu=CpuInstanceType.CPU5C_4_8)
async def process(data: dict) -> dict: ...

async def main():
    print(await by_shorthand({}), await process({}))

asyncio.run(main())
