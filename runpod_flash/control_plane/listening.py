"""Sockets, and the HTTP servers that serve the application on them."""

import asyncio
import contextlib
import functools
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from runpod_flash.control_plane.http_protocol import HttpProtocol, Prompt
from runpod_flash.control_plane.listen import Listen, is_loopback, refused
from runpod_flash.errors import BackendUnavailable

_KEEP_ALIVE_S = 600  # this user's own connections
_KEEP_ALIVE_OTHERS_S = 75
_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Sockets:
    """What is listened on: a loopback port and a unix socket for this user, and an address for others."""

    tcp: socket.socket
    unix: socket.socket
    others: socket.socket | None
    listen: Listen | None

    @property
    def port(self) -> int:
        """The loopback port."""
        return int(self.tcp.getsockname()[1])

    @property
    def url(self) -> str:
        """Where others find this server; empty where they do not."""
        if self.others is None or self.listen is None:
            return ""
        return self.listen.url(int(self.others.getsockname()[1]))


@contextlib.contextmanager
def sockets(port: int, path: Path, listen: Listen | None, wished: int = 0) -> Iterator[Sockets]:
    """All sockets, bound; gone at the end. Where any `port` will do (0), the `wished` one is taken if it is free.

    Raises:
        BackendUnavailable: one of them cannot be had.
        ConfigError: `listen` is a name that leads beyond this machine, where it must not.
    """
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(_loopback_socket(port, wished))
        others = None if listen is None else stack.enter_context(_socket_for_others(listen))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        _remove(path)
        old = os.umask(0o177)
        try:
            unix.bind(str(path))
        finally:
            os.umask(old)
        stack.callback(_remove, path)
        yield Sockets(tcp, unix, others, listen)


class HttpServers:
    """The application on all sockets. Those for others have a server of their own, which may speak TLS."""

    def __init__(self, app: ASGIApp, found: Sockets, message_bytes: int, prompt: Prompt | None = None) -> None:
        """`message_bytes`: the largest message of a websocket; `prompt`: who is asked before the app."""
        self._servers = [(_server(app, _KEEP_ALIVE_S, None, message_bytes, prompt), [found.tcp, found.unix])]
        if found.others is not None:
            others = _server(app, _KEEP_ALIVE_OTHERS_S, found.listen, message_bytes, prompt)
            self._servers.append((others, [found.others]))
        self._serving: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Serve; returns when all sockets are answered, or a server has ended instead."""
        self._serving = [asyncio.create_task(server.serve(sockets=found)) for server, found in self._servers]
        answered = asyncio.ensure_future(self._answered())
        ended = asyncio.ensure_future(self.ended())
        await asyncio.wait([answered, ended], return_when=asyncio.FIRST_COMPLETED)
        answered.cancel()
        ended.cancel()

    async def _answered(self) -> None:
        for server, _ in self._servers:
            await server.answers.wait()

    async def ended(self) -> None:
        """Wait until one of the servers has ended by itself, which it does only where it has failed."""
        await asyncio.wait(self._serving, return_when=asyncio.FIRST_COMPLETED)

    async def stop(self) -> None:
        """End all servers: open requests have some seconds. Raises what a server has failed with."""
        for server, _ in self._servers:
            server.should_exit = True
        if self._serving:
            _, late = await asyncio.wait(self._serving, timeout=_STOP_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            for task in self._serving:
                if task not in late:
                    task.result()


class _State(ServerState):
    """What uvicorn's connections share. It looks at the clock when it is asked, so that nobody wakes to tell it."""

    _second = 0
    _headers: list[tuple[bytes, bytes]]

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of every answer."""
        now = int(time.time())
        if now != self._second:
            self._second, self._headers = now, [(b"date", formatdate(now, usegmt=True).encode())]
        return self._headers

    @default_headers.setter
    def default_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Nothing that uvicorn would say."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers, for the control plane's life has one owner, and without its clock.

    Attributes:
        answers: set when its sockets are answered.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        self.answers, self._exit = asyncio.Event(), asyncio.Event()
        super().__init__(config)
        self.server_state = _State()

    @property
    def should_exit(self) -> bool:
        """Whether it ends."""
        return self._exit.is_set()

    @should_exit.setter
    def should_exit(self, ends: bool) -> None:
        if ends:
            self._exit.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answers.set()

    async def main_loop(self) -> None:
        await self._exit.wait()


def _server(
    app: ASGIApp, keep_alive_s: int, listen: Listen | None, message_bytes: int, prompt: Prompt | None
) -> _Server:
    tls = listen.tls if listen is not None else None
    return _Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,  # a worker's own reaches its clients
            ws_max_size=message_bytes,
            http=cast(type[asyncio.Protocol], functools.partial(HttpProtocol, prompt=prompt)),
            loop="none",  # the control plane has one
            ws="websockets-sansio",  # the other ways are deprecated, or keep no order of what is sent
            timeout_keep_alive=keep_alive_s,
            ssl_certfile=None if tls is None else str(tls.cert),
            ssl_keyfile=None if tls is None else str(tls.key),
        )
    )


def _tcp_socket(family: int) -> socket.socket:
    # IPPROTO_TCP by name: asyncio turns Nagle off only where it sees it, else each answer waits 40 ms for an ACK
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)


def _socket_for_others(listen: Listen) -> socket.socket:
    shown = listen.url(listen.port).partition("//")[2]
    way_out = "choose another with FLASH_LISTEN (--listen HOST:PORT)"
    try:
        found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BackendUnavailable(f"address {shown} cannot be used: {error.strerror}; {way_out}") from error
    family, _, _, _, address = found[0]
    if listen.needs_loopback and not is_loopback(str(address[0])):
        raise refused(shown)
    made = _tcp_socket(family)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # what was asked for, and no more
        _bind(made, address, f"address {shown}", way_out)
    except BaseException:
        made.close()
        raise
    return made


def _loopback_socket(port: int, wished: int) -> socket.socket:
    if not port and wished:
        made = _tcp_socket(socket.AF_INET)
        try:
            _bind(made, ("127.0.0.1", wished), f"port {wished} of 127.0.0.1", "")
            made.listen()  # at once: others may have the same port as long as nobody listens there
            return made
        except (BackendUnavailable, OSError):
            made.close()
    made = _tcp_socket(socket.AF_INET)
    try:
        way_out = "choose one with FLASH_PORT, or 0 for any free one"
        _bind(made, ("127.0.0.1", port), f"port {port} of 127.0.0.1", way_out)
    except BaseException:
        made.close()
        raise
    return made


def _bind(made: socket.socket, address: tuple[object, ...], shown: str, way_out: str) -> None:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
    except OSError as error:
        raise BackendUnavailable(f"{shown} cannot be used: {error.strerror}; {way_out}") from error


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_name("workers.sock").unlink(missing_ok=True)
