"""Added: the endpoint, its items, the run."""

from runpod_flash import Endpoint

@Endpoint(name="item-processor", workers=3)
async def process_item(item):
    return item * 2

item1, item2, item3 = 1, 2, 3

import asyncio

async def main():
    # Run three functions in parallel
    results = await asyncio.gather(
        process_item(item1),
        process_item(item2),
        process_item(item3)
    )
    return results

print(asyncio.run(main()))
