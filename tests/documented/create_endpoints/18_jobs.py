"""Added: the imports, an async cell.

changed: ep = Endpoint(id="abc123")
     to: ep = Endpoint(id=os.environ["QUEUE_ID"])
"""

import asyncio
import os

from runpod_flash import Endpoint

ep = Endpoint(id=os.environ["QUEUE_ID"])

async def main():
    # Submit a job
    job = await ep.run({"prompt": "hello"})

    # Check status
    status = await job.status()  # "IN_PROGRESS", "COMPLETED", etc.

    # Wait for completion
    await job.wait(timeout=60)  # Optional timeout in seconds

    # Access results
    print(job.id)      # Job ID
    print(job.output)  # Result payload
    print(job.error)   # Error message if failed
    print(job.done)    # True if completed/failed

    # Cancel a job
    await job.cancel()

    print(await job.status())

asyncio.run(main())
