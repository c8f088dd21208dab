"""HTTP clients of a platform."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from runpod_flash.backends import clients
from runpod_flash.backends.clients import Address, Lanes, new_client, requests_at_once
from runpod_flash.errors import ConfigError
from tests.support.certificates import make_certificate
from tests.support.fake_platform import KEY, FakePlatform, serving
from tests.support.place import ROOT


@contextmanager
def answering(certificate: Path | None = None) -> Iterator[str]:
    """A platform whose endpoint answers with the number of the caller's port."""
    platform = FakePlatform()

    def answer(request: Request, body: bytes) -> Response:
        assert request.client is not None
        return PlainTextResponse(str(request.client.port))

    platform.answer = answer
    with serving(platform, certificate=certificate) as url:
        yield url


def ports(address: Address, number: int, *, at_once: bool = False) -> list[str]:
    """From which ports requests came, one after another or all at a time."""

    async def main() -> list[str]:
        lanes, inside = Lanes(address), asyncio.Barrier(number if at_once else 1)

        async def one() -> str:
            async with lanes.lane() as client:
                await inside.wait()
                return (await client.get("/lb/ep/x")).text

        try:
            if at_once:
                return list(await asyncio.gather(*(one() for _ in range(number))))
            return [await one() for _ in range(number)]
        finally:
            await lanes.aclose()

    return asyncio.run(main())


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate and its key in one file, which clients trust."""
    certificate, key = make_certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return both


def test_a_lane_with_tls_is_used_again(trusted: Path) -> None:
    with answering(trusted) as url:
        address = Address(url, KEY, "the fake", "")
        assert len(set(ports(address, 3))) == 1
        assert len(set(ports(address, 12, at_once=True))) == 12


def test_a_lane_without_tls_is_used_again_too() -> None:
    with answering() as url:
        address = Address(url, KEY, "the fake", "")
        assert len(set(ports(address, 3))) == 1
        assert len(set(ports(address, 12, at_once=True))) == 12


def test_lanes_to_a_unix_socket_are_not_kept() -> None:
    async def main() -> None:
        lanes = Lanes(Address("http://127.0.0.1:1", KEY, "the fake", "", socket="/nowhere"))
        async with lanes.lane() as client:
            pass
        assert client.is_closed

    asyncio.run(main())


def test_a_lane_in_which_something_failed_is_not_used_again(trusted: Path) -> None:
    async def main(url: str) -> None:
        lanes = Lanes(Address(url, KEY, "the fake", ""))
        with pytest.raises(ValueError, match="bad"):
            async with lanes.lane() as first:
                raise ValueError("bad")
        assert first.is_closed
        async with lanes.lane() as second:
            assert second is not first
        await lanes.aclose()
        assert second.is_closed
        async with lanes.lane() as late:
            pass
        assert late.is_closed  # nobody would close it later

    with answering(trusted) as url:
        asyncio.run(main(url))


def test_certificates_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")

    async def main() -> None:
        async with Lanes(Address("https://127.0.0.1:1", KEY, "the fake", "")).lane():
            raise AssertionError

    with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
        asyncio.run(main())


def test_lanes_are_clients() -> None:
    async def main() -> None:
        async with Lanes(Address("http://127.0.0.1:1", KEY, "the fake", "")).lane() as client:
            assert isinstance(client, httpx.AsyncClient)
            assert client.headers["authorization"] == f"Bearer {KEY}"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "socket", "number"),
    [
        ("http://127.0.0.1:9", None, 4),
        ("http://localhost", "/a/socket", 4),
        ("https://api.example.com", None, 32),
        ("http://10.0.0.3:8443", None, 32),
    ],
)
def test_requests_to_a_platform_afar_wait_for_each_other_less(url: str, socket: str | None, number: int) -> None:
    assert requests_at_once(Address(url, None, url, "", socket)) == number


def test_where_the_parser_is_not_httpx_has_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = "import sys; sys.modules['httptools'] = None; from runpod_flash.backends import clients as c; "
    code = f"{looked}sys.exit(c._READS_ITSELF or c._NEAR in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    monkeypatch.setattr(clients, "_READS_ITSELF", False)

    async def main(url: str) -> None:
        lanes = Lanes(Address(url, KEY, "the fake", ""))
        assert (await lanes.ask("GET", "/lb/ep/x", {}, None, 10.0)).status == 200
        await lanes.aclose()
        async with new_client(Address("http://flash", KEY, "the fake", "", socket="/nowhere/at/all")) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("/")

    with answering() as url:
        asyncio.run(main(url))
