"""How many held requests a second a client makes, beside plain httpx: `python held_requests.py PORT MANY ROUNDS`.

The platform is a process of its own that only waits HELD_S for each; FLASH_TARGET says that it is at PORT.
"""

import asyncio
import json
import multiprocessing
import socket
import sys
import time

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from runpod_flash import Endpoint

HELD_S = 0.5


def platform(listener):
    """A platform without `/flash/v1/`, whose endpoint takes its time."""

    async def hold(request):
        await asyncio.sleep(HELD_S)
        return JSONResponse({"ok": True})

    async def no_extension(request):
        return JSONResponse({"detail": "there is no such route"}, 404)

    app = Starlette(
        routes=[
            Route("/lb/ep/x", hold, methods=["POST"]),
            Route("/flash/v1/capabilities", no_extension),
        ]
    )
    uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", timeout_keep_alive=600)).run([listener])


async def rate(ask, number):
    """So many requests at once, in requests a second."""
    start = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(number)))
    return number / (time.perf_counter() - start)


async def measure(url, many, rounds):
    """Rates of both, in turn."""
    endpoint = Endpoint(id="ep")
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=httpx.Timeout(60, pool=None)) as client:
        ways = {
            "ours": lambda: endpoint.post("/x", {"a": 1}),
            "httpx": lambda: client.post("/lb/ep/x", json={"a": 1}),
        }
        rates = {name: [] for name in ways}
        for _ in range(rounds):
            for name, ask in ways.items():
                rates[name].append(await rate(ask, many))
    return rates


def main():
    """Measure and print."""
    port, many, rounds = map(int, sys.argv[1:])
    with socket.create_server(("127.0.0.1", port), backlog=2048) as listener:
        server = multiprocessing.get_context("fork").Process(target=platform, args=[listener], daemon=True)
        server.start()
        try:
            print("RESULT", json.dumps(asyncio.run(measure(f"http://127.0.0.1:{port}", many, rounds))))
        finally:
            server.terminate()
            server.join()


if __name__ == "__main__":
    main()
