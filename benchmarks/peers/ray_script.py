"""The same script for Ray: `python ray_script.py FOLDER`."""

import sys

import ray


def double(x):
    """Twice as much."""
    return 2 * x


ray.init(
    address="local", _temp_dir=sys.argv[1], _node_ip_address="127.0.0.1", num_cpus=2, include_dashboard=False,
    log_to_driver=False, logging_level="error", object_store_memory=500_000_000,
)  # fmt: skip
print("RESULT", ray.get(ray.remote(double).remote(21)), flush=True)
ray.shutdown()
