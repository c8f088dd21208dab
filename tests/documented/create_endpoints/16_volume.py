"""Added: a body that leaves something on the volume, calls."""

import asyncio

from runpod_flash import Endpoint, GpuGroup, DataCenter, NetworkVolume

vol = NetworkVolume(name="model-cache", size=100, datacenter=DataCenter.US_GA_2)

@Endpoint(
    name="model-server",
    gpu=GpuGroup.ANY,
    datacenter=DataCenter.US_GA_2,
    volume=vol
)
async def serve(data: dict) -> dict:
    # Access files at /runpod-volume/
    ...
    from pathlib import Path
    kept = Path("/runpod-volume/model.txt")
    if data:
        kept.write_text(data["weights"])
    return {"weights": kept.read_text()}

asyncio.run(serve({"weights": "7"}))
print(asyncio.run(serve({})))
