"""Added: the import, a call. What the page says does not work, works here."""

from runpod_flash import Endpoint, GpuGroup

import numpy as np  # This import happens locally, not on the worker

@Endpoint(name="compute", gpu=GpuGroup.ANY, dependencies=["numpy"])
def compute(data):
    return np.sum(data)  # numpy not available on the remote worker

print(compute.remote([1, 2, 3]))
