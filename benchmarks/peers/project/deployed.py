"""What `flash deploy` brings to the platform, for requests by plain HTTP."""

from runpod_flash import Endpoint


@Endpoint(name="bench-deployed", cpu="cpu3c-2-4", workers=(1, 1))
def nothing(x: int) -> int:
    """Gives what it got."""
    return x
