"""Added: the import, a call."""

import asyncio

from runpod_flash import Endpoint, GpuGroup

@Endpoint(
    name="video-processor",
    gpu=GpuGroup.ANY,
    dependencies=["opencv-python"],
    system_dependencies=["libgl1-mesa-glx", "libglib2.0-0"]
)
async def process_video(video_data):
    import cv2
    # OpenCV processing
    return {"processed": True}

print(asyncio.run(process_video(b"")))
