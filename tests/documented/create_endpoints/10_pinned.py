"""Added: the endpoint that has these dependencies, and a call.

changed: dependencies=["transformers==4.36.0", "torch>=2.0.0", "numpy<2.0"]
     to: @Endpoint(name="pinned", dependencies=["transformers==4.36.0", "torch>=2.0.0", "numpy<2.0"])
"""

from runpod_flash import Endpoint

@Endpoint(name="pinned", dependencies=["transformers==4.36.0", "torch>=2.0.0", "numpy<2.0"])
def versions():
    import numpy, torch, transformers
    return transformers.VERSION, torch.VERSION, numpy.VERSION

print(*versions.remote())
