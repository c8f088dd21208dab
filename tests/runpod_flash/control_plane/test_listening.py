"""Sockets and the servers on them: for this user, and for others with and without TLS."""

import asyncio
import socket
import ssl
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from runpod_flash.control_plane import listening
from runpod_flash.control_plane.listen import Listen, Tls
from runpod_flash.errors import BackendUnavailable, ConfigError
from tests.support.certificates import make_certificate


async def _base(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(request.base_url))


APP = Starlette(routes=[Route("/", _base)])


def asked(folder: Path, listen: Listen | None, trusted: Path | None = None) -> tuple[list[str], str]:
    """What the application sees as its address, over each way; and the URL for others."""

    async def play() -> tuple[list[str], str]:
        path = folder / "api.sock"
        with listening.sockets(0, path, listen) as found:
            servers = listening.HttpServers(APP, found, 2**20)
            await servers.start()
            verify = ssl.create_default_context(cafile=str(trusted)) if trusted is not None else True
            ways = [f"http://127.0.0.1:{found.port}", *filter(None, [found.url])]
            answers = []
            async with httpx.AsyncClient(verify=verify, trust_env=False) as client:
                answers += [(await client.get(way)).text for way in ways]
            transport = httpx.AsyncHTTPTransport(uds=str(path))
            async with httpx.AsyncClient(transport=transport) as client:
                answers.append((await client.get("http://flash")).text)
            await servers.stop()
        assert not path.exists()
        assert answers[: len(ways)] == [f"{way}/" for way in ways]
        return answers, found.url if not found.others else ways[-1]

    return asyncio.run(play())


def test_for_this_user_only(tmp_path: Path) -> None:
    answers, url = asked(tmp_path, None)
    assert (len(answers), url) == (2, "")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_for_others_in_clear(tmp_path: Path, host: str) -> None:
    answers, url = asked(tmp_path, Listen(host, 0))
    assert len(answers) == 3
    assert url.startswith(f"http://{host}:")


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")
def test_an_ipv6_address(tmp_path: Path) -> None:
    _, url = asked(tmp_path, Listen("::1", 0))
    assert url.startswith("http://[::1]:")


def test_with_tls(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    answers, url = asked(tmp_path, Listen("127.0.0.1", 0, Tls(cert, key)), trusted=cert)
    assert len(answers) == 3
    assert url.startswith("https://127.0.0.1:")


def test_an_address_that_cannot_be_had_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for wanted, said in (
            (Listen("127.0.0.1", port), f"127.0.0.1:{port} cannot be used: Address already in use"),
            (Listen("no-such-host.invalid", 1, insecure=True), "no-such-host.invalid:1 cannot be used"),
            (Listen("192.0.2.1", 1, insecure=True), "192.0.2.1:1 cannot be used"),
        ):
            with pytest.raises(BackendUnavailable, match=said), listening.sockets(0, path, wanted):
                pass
        with pytest.raises(BackendUnavailable, match="FLASH_PORT"), listening.sockets(port, path, None):
            pass
    assert not path.exists()


def test_a_name_that_leads_beyond_this_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beyond = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 1))]
    monkeypatch.setattr(listening.socket, "getaddrinfo", lambda *_, **__: beyond)  # a wrong /etc/hosts
    with pytest.raises(ConfigError, match="localhost:1"), listening.sockets(0, tmp_path / "s", Listen("localhost", 1)):
        pass


def test_a_server_that_ends_by_itself_is_heard_of(tmp_path: Path) -> None:
    async def play() -> None:
        with listening.sockets(0, tmp_path / "api.sock", Listen("127.0.0.1", 0)) as found:
            servers = listening.HttpServers(APP, found, 2**20)
            await servers.start()
            servers._servers[1][0].should_exit = True
            async with asyncio.timeout(10):
                await servers.ended()
            await servers.stop()

    asyncio.run(play())


def test_the_wished_port_is_taken_where_it_is_free_and_any_will_do(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with listening.sockets(0, path, None) as first:
        taken = first.port
        first.tcp.listen()
        with listening.sockets(0, tmp_path / "other.sock", None, taken) as second:
            assert second.port != taken
    with listening.sockets(0, path, None, taken) as again:
        assert again.port == taken  # and is listened on by now
        with (
            pytest.raises(BackendUnavailable, match=f"port {taken} of"),
            listening.sockets(taken, tmp_path / "other.sock", None, taken + 1),
        ):
            pass
