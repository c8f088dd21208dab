"""Added: the import, a call."""

from runpod_flash import Endpoint, GpuGroup

@Endpoint(name="compute", gpu=GpuGroup.ANY, dependencies=["numpy"])
def compute(data):
    import numpy as np  # Import here
    return np.sum(data)

print(compute.remote([1, 2, 3]))
