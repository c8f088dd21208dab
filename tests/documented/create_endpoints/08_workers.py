"""Added: the import, a function below each decorator, calls."""

import asyncio
import os

from runpod_flash import Endpoint, GpuGroup

# Just a max: scales from 0 to 5
@Endpoint(name="elastic", gpu=GpuGroup.ANY, workers=5)
async def elastic(): return os.environ["RUNPOD_POD_ID"]

# Min and max tuple: always keep 2 warm, scale up to 10
@Endpoint(name="always-on", gpu=GpuGroup.ANY, workers=(2, 10))
async def always_on(): return os.environ["RUNPOD_POD_ID"]

# Default is (0, 1) if not specified
@Endpoint(name="default", gpu=GpuGroup.ANY)
async def default(): return os.environ["RUNPOD_POD_ID"]

async def main():
    print(len({await elastic(), await always_on(), await default()}))

asyncio.run(main())
