"""A script as users write it: a function, a call, its result."""

from runpod_flash import Endpoint


@Endpoint(name="script", cpu="cpu3c-2-4")
def double(x):
    """Twice as much."""
    return 2 * x


if __name__ == "__main__":
    print("RESULT", double.remote(21), flush=True)
