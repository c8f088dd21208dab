"""The port of the dev server, and the HTTP server on it."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from flash_cli.dev.sockets import MOST_BYTES
from runpod_flash.errors import BackendUnavailable, ConfigError

TRIES: Final = 20
_STOP_S: Final = 2.0


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets on `host`, all on one port: the first free one of twenty from `port`. Closed at the end.

    Raises:
        BackendUnavailable: none of them is free.
        ConfigError: there is no such host here.
    """
    for tried in range(port, min(port + TRIES, 65_536)):
        found = _bound(host, tried)
        if found is not None:
            with contextlib.ExitStack() as stack:
                for each in found:
                    stack.enter_context(each)
                yield found
            return
    last = min(port + TRIES, 65_536) - 1
    raise BackendUnavailable(f"no port from {port} to {last} is free on {host}; name another one with --port")


def _bound(host: str, port: int) -> list[socket.socket] | None:
    """Sockets on all addresses of a host; None where one of them is taken."""
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(f"--host is {host!r:.80}, which is no address of this machine ({error})") from error
    found: list[socket.socket] = []
    for family, _, _, _, address in sorted(set(infos), key=lambda info: info[0] != socket.AF_INET):
        try:
            found.append(_bind(family, address))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                for each in found:
                    each.close()
                return None
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise ConfigError(f"nothing can listen on port {port} of {host}: {error.strerror}") from error
    if not found:
        raise ConfigError(f"--host is {host!r:.80}, which is no address of this machine")
    return found


def _bind(family: int, address: object) -> socket.socket:
    # IPPROTO_TCP by name: asyncio turns Nagle off only where it sees it
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)  # type: ignore[arg-type]
        made.listen(128)  # a port that somebody else listens on is taken, even where it could be bound
    except OSError:
        made.close()
        raise
    return made


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the session's life has one owner."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, sockets: list[socket.socket]) -> AsyncIterator[asyncio.Task[None]]:
    """While inside, the application is served. Gives the task that does it, which ends early only where it fails."""
    config = uvicorn.Config(
        app,
        log_level="critical",
        access_log=False,
        lifespan="off",
        server_header=False,
        ws_max_size=MOST_BYTES,
        ws="websockets-sansio",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=sockets), name="dev-server")
    try:
        yield task
    finally:
        server.should_exit = True
        await asyncio.wait([task], timeout=_STOP_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
