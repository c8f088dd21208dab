"""Added: an async cell. The image is run by whatever `docker` is on PATH."""

import asyncio

from runpod_flash import Endpoint, GpuType

vllm = Endpoint(
    name="vllm-server",
    image="vllm/vllm-openai:latest",
    gpu=GpuType.NVIDIA_A100_80GB_PCIe
)

async def main():
    # Make HTTP calls to the deployed image
    result = await vllm.post("/v1/completions", {"prompt": "Hello"})
    models = await vllm.get("/v1/models")
    print(result, models)

asyncio.run(main())
