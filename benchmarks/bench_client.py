"""How many held requests a second a client makes, beside plain httpx in the same run: what is held takes HELD_S.

The server is a process of its own and only waits. `ideal` is what a client without any cost would reach.
"""

import asyncio
import multiprocessing
import socket
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from timing import report

from runpod_flash.backends.clients import Address
from runpod_flash.backends.http import HttpBackend
from runpod_flash.output import Output
from runpod_flash.web import request

HELD_S, MANY, ROUNDS = 0.5, (64, 256, 512), 3


def serve(listener: socket.socket) -> None:
    """The platform: no `/flash/v1/`, and an endpoint that takes its time."""

    async def hold(request: Request) -> Response:
        await asyncio.sleep(HELD_S)
        return JSONResponse({"ok": True})

    async def no_extension(request: Request) -> Response:
        return JSONResponse({"detail": "there is no such route"}, 404)

    app = Starlette(
        routes=[
            Route("/lb/ep/x", hold, methods=["POST"]),
            Route("/flash/v1/capabilities", no_extension),
        ]
    )
    uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", timeout_keep_alive=600)).run([listener])


async def rate(ask: Callable[[], Awaitable[object]], number: int) -> float:
    """The median of rounds: so many requests at once, in requests a second."""
    rates = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(number)))
        rates.append(number / (time.perf_counter() - start))
    return statistics.median(rates)


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """A request as `await ep.post(…)` makes it."""

    async def locate() -> Address:
        return Address(url, "key", "the server", "")

    backend = HttpBackend(locate, Output(), shares_machine=True, default_queue_delay=0.0)
    await backend.open()
    try:
        yield lambda: backend.request("ep", request("POST", "/x", {"a": 1}))
    finally:
        await backend.aclose()


@asynccontextmanager
async def plain(url: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """The same request by one client of httpx."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=httpx.Timeout(60, pool=None)) as client:
        yield lambda: client.post("/lb/ep/x", json={"a": 1})


async def measure(url: str) -> dict[str, float]:
    """Rates and ratios for each number of requests."""
    figures: dict[str, float] = {}
    for number in MANY:
        async with ours(url) as ask:
            client = await rate(ask, number)
        async with plain(url) as ask:
            other = await rate(ask, number)
        figures |= {f"ideal_{number}_per_s": number / HELD_S, f"client_{number}_per_s": client}
        figures |= {f"httpx_{number}_per_s": other, f"ratio_{number}": client / other}
    return figures


def main() -> None:
    """Measure and print."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        server = multiprocessing.get_context("fork").Process(target=serve, args=[listener], daemon=True)
        server.start()
        try:
            report("client", asyncio.run(measure(f"http://127.0.0.1:{listener.getsockname()[1]}")))
        finally:
            server.terminate()
            server.join()


if __name__ == "__main__":
    main()
