"""Added: an async cell, and the load-balanced endpoint, since one endpoint cannot be both.

changed: ep = Endpoint(id="abc123")
     to: ep = Endpoint(id=os.environ["QUEUE_ID"])
"""

import asyncio
import os

from runpod_flash import Endpoint

ep = Endpoint(id=os.environ["QUEUE_ID"])

async def main():
    # Queue-based calls
    job = await ep.run({"prompt": "hello"})
    await job.wait()
    print(job.output)

    await balanced(Endpoint(id=os.environ["BALANCED_ID"]))

async def balanced(ep):
    # Or load-balanced calls
    result = await ep.post("/v1/completions", {"prompt": "hello"})
    print(result)

asyncio.run(main())
