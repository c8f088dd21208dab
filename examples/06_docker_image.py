"""A container image as an endpoint: its server answers requests, and this program is its client.

Needs docker or podman, and an engine that answers. The image is fetched by the first run.
"""

import asyncio

from runpod_flash import Endpoint, PodTemplate

files = Endpoint(
    name="files-of-python",
    image="python:3.13-slim",
    cpu="cpu3c-1-2",
    template=PodTemplate(dockerArgs="python -m http.server --directory /usr $PORT"),  # this machine says which port
    env={"HEALTH_CHECK_PATH": "/"},  # asked to see whether it is well; else /ping
)


async def main() -> None:
    """Ask the server in the container for two folders at a time."""
    pages = await asyncio.gather(files.get("/"), files.get("/local/"))
    for page in pages:
        print(page.count("<li>"), "entries")
    print("served at", files.url)


if __name__ == "__main__":
    asyncio.run(main())
