"""The worker: runs shipped functions. Standard library and cloudpickle only."""
