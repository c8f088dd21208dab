"""Added: the imports, a call; transformers is the stand-in of the test, from its folder of wheels.

Also added: `dependencies`, which the block leaves out.
"""

import asyncio

from runpod_flash import Endpoint, GpuGroup

@Endpoint(
    name="api-worker",
    gpu=GpuGroup.ANY,
    dependencies=["transformers"],
    env={
        "HF_TOKEN": "your_huggingface_token",
        "MODEL_ID": "gpt2"
    }
)
async def load_model():
    import os
    from transformers import AutoModel

    hf_token = os.getenv("HF_TOKEN")
    model_id = os.getenv("MODEL_ID")

    model = AutoModel.from_pretrained(model_id, token=hf_token)
    return {"model_loaded": model_id}

print(asyncio.run(load_model()))
