"""Added: requests to both routes, and a call of a route function, which runs here."""

import asyncio

from runpod_flash import Endpoint, GpuType

api = Endpoint(
    name="inference-api",
    gpu=GpuType.NVIDIA_GEFORCE_RTX_4090,
    workers=(1, 5),
    dependencies=["torch"]
)

@api.post("/predict")
async def predict(data: dict) -> dict:
    import torch  # Import inside the function body
    # Run inference
    return {"prediction": "result"}

@api.get("/health")
async def health():
    return {"status": "ok"}

async def main():
    print(await api.post("/predict", {"data": {"prompt": "hello"}}))
    print(await api.get("/health"))
    print(await health())

asyncio.run(main())
