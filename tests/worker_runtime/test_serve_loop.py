"""Workers whose child serves routes: real parents and children, asked on their ports."""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.worker_runtime.scripted_plane import Plane, by_name, by_value
from worker_runtime.wire import messages
from worker_runtime.wire.routes import Served, ServedRoute


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server(folder: Path, **settings: Any) -> Plane:
    """A worker that serves what it is sent."""
    return Plane(folder, settings={"port": free_port(), **settings})


def routes() -> Any:
    """What is shipped: a function by value that gives the routes."""

    async def slow() -> str:
        import asyncio

        print("begun")
        await asyncio.sleep(0.5)
        return "slow"

    def name() -> str:
        import sys

        return sys.argv[0]

    served = Served((ServedRoute("GET", "/slow", slow, {}), ServedRoute("GET", "/name", name, {})))
    return lambda: served


async def healthy(plane: Plane) -> httpx.AsyncClient:
    """A client of the server, which is up; the caller closes it."""
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{plane.launch.port}", trust_env=False, timeout=20)
    async with asyncio.timeout(20):
        while True:
            try:
                if (await client.get("/ping")).status_code == 200:
                    return client
            except httpx.TransportError:
                await asyncio.sleep(0.02)


def played(test: Callable[[Path], Awaitable[None]]) -> Callable[[Path], None]:
    def run(short_folder: Path) -> None:
        async def main() -> None:
            await test(short_folder)

        asyncio.run(main())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@played
async def test_it_serves_and_when_it_drains_requests_end_first(folder: Path) -> None:
    async with server(folder) as plane:
        await plane.ship(by_value(routes(), kind="routes"))
        client = await healthy(plane)
        assert (await client.get("/name")).json() == "endpoint"
        slow = asyncio.ensure_future(client.get("/slow"))
        await plane.until(lambda: "begun" in plane.lines(job=None), "output")
        await plane.send({"type": messages.DRAIN})
        assert (await slow).json() == "slow"
        assert await plane.process.wait() == 0
        await client.aclose()
        await plane.nothing_left()
        assert set(plane.kinds()) == {"hello", "log"}


@pytest.mark.parametrize("code", ["raise ValueError('not here')", "import sys; sys.exit('not here')"])
def test_what_cannot_be_loaded_is_hopeless_and_says_why(short_folder: Path, code: str) -> None:
    files = {"broken_routes.py": f"def f(): ...\n{code}\n".encode()}

    async def main() -> None:
        async with server(short_folder) as plane:
            await plane.ship(by_value(_importing(), kind="routes", files=files))
            gone, _ = await plane.frame("gone")
            assert (gone["reason"], gone["hopeless"]) == ("its routes cannot be served", True)
            assert "not here" in gone["stderr"][-1]
            assert await plane.process.wait() == 1

    asyncio.run(main())


@played
async def test_an_application_whose_lifespan_fails_is_hopeless_too(folder: Path) -> None:
    def make() -> Any:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no model"})

        return application

    served = Served(make_app=make)
    async with server(folder) as plane:
        await plane.ship(by_value(lambda: served, kind="routes"))
        gone, _ = await plane.frame("gone")
        assert gone["hopeless"] is True
        assert "no model" in "".join(gone["stderr"])
        await plane.process.wait()


def _importing() -> Any:
    def gives() -> Any:
        import broken_routes  # type: ignore[import-not-found]

        return broken_routes.f

    return gives


@played
async def test_a_server_that_ends_later_is_not_hopeless(folder: Path) -> None:
    def die() -> None:
        import os

        os._exit(7)

    served = Served((ServedRoute("GET", "/die", die, {}),))
    async with server(folder) as plane:
        await plane.ship(by_value(lambda: served, kind="routes"))
        client = await healthy(plane)
        with pytest.raises(httpx.TransportError):
            await client.get("/die")
        await client.aclose()
        gone, _ = await plane.frame("gone")
        assert (gone["reason"], "hopeless" in gone) == ("exited with code 7", False)
        await plane.process.wait()


@played
async def test_frames_that_are_not_for_it_end_it(folder: Path) -> None:
    artifact = by_value(routes(), kind="routes")
    for frames in ([by_name("add")], [artifact, artifact]):
        async with server(folder) as plane:
            for name, data in frames:
                await plane.send({"type": messages.ARTIFACT, "id": name}, data)
            gone, _ = await plane.frame("gone")
            assert gone["reason"].startswith("the worker failed: WireError")
            await plane.process.wait()
            await plane.nothing_left()
        (folder / "link").unlink(missing_ok=True)
    assert sys.modules.get("broken_routes") is None
