"""Added: the import, two lines for `# Your code here`, a call."""

from runpod_flash import Endpoint, GpuType

@Endpoint(
    name="text-gen",
    gpu=GpuType.NVIDIA_A100_80GB_PCIe,
    dependencies=["transformers==4.36.0", "torch", "pillow"]
)
def generate_text(prompt):
    from transformers import pipeline
    import torch
    # Your code here
    import transformers
    return transformers.VERSION, torch.VERSION, pipeline(prompt)

print(*generate_text.remote("hello"))
