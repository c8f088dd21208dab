"""A connection meets platforms that are busy, that restart without an event stream, and that speak TLS."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from runpod_flash.backends.connection import Address, Connection
from runpod_flash.errors import BackendError, BackendUnavailable, ConfigError
from tests.support.certificates import self_signed
from tests.support.fake_platform import KEY, FakePlatform, problem, serving
from tests.support.waiting import wait_until

PATIENT = 15.0


class Refusing:
    """Refuses the first requests whose path ends as given, then none."""

    def __init__(self, path: str, *refusals: tuple[int, dict[str, str]]) -> None:
        self.path, self.left = path, list(refusals)

    def __call__(self, request: Request) -> Response | None:
        if not self.left or not request.url.path.endswith(self.path):
            return None
        status, headers = self.left.pop(0)
        answer = problem(status, "slow down")
        answer.headers.update(headers)
        return answer


def run(url: str, test: Callable[[Connection], Awaitable[None]], **options: Any) -> list[Address]:
    """Run a test with a connection; gives the addresses that were asked for."""
    located: list[Address] = []

    async def locate() -> Address:
        located.append(Address(url, KEY, "the fake", "no hint"))
        return located[-1]

    async def main() -> None:
        connection = Connection(locate, lambda event: None, lambda: None, **options)
        async with asyncio.timeout(PATIENT):
            try:
                await test(connection)
            finally:
                await connection.close()

    asyncio.run(main())
    return located


@pytest.mark.parametrize(
    "refusals",
    [
        [(429, {"Retry-After": "0"}), (429, {"Retry-After": "0"})],
        [(429, {"Retry-After": formatdate(time.time() - 5, usegmt=True)})],
        [(503, {"Retry-After": "0"}), (429, {"Retry-After": "0"})],
        [(429, {})],
    ],
)
def test_a_busy_platform_is_waited_for(
    url: str, platform: FakePlatform, refusals: list[tuple[int, dict[str, str]]]
) -> None:
    platform.refuse = Refusing("/serverless", *refusals)
    told: list[str] = []

    async def test(connection: Connection) -> None:
        await connection.send("POST", "/v2/serverless", json={"name": "x"}, repeat=False)

    run(url, test, on_wait=told.append)
    assert len(platform.endpoints) == 1
    assert platform.requests["POST serverless"] == len(refusals) + 1
    assert len(told) == len(refusals)
    assert "slow down" in told[0]


@pytest.mark.parametrize("path", ["capabilities", "events"])
def test_one_that_is_busy_at_the_beginning_is_waited_for(url: str, platform: FakePlatform, path: str) -> None:
    platform.refuse = Refusing(path, (503, {"Retry-After": "0"}))

    async def test(connection: Connection) -> None:
        await connection.send("GET", "/v2/serverless")

    run(url, test)
    assert platform.requests[f"GET {path}"] == 2


@pytest.mark.parametrize(
    ("status", "headers", "error", "said"),
    [
        (429, {"Retry-After": "86400"}, BackendUnavailable, "asks to wait 86400 s, longer than the 300 s"),
        (503, {"Retry-After": "31"}, BackendUnavailable, "asks to wait 31 s, longer than the 30 s"),
        (503, {}, BackendError, "with: slow down"),
    ],
)
def test_what_takes_too_long_fails_at_once(
    url: str, platform: FakePlatform, status: int, headers: dict[str, str], error: type[Exception], said: str
) -> None:
    platform.refuse = Refusing("/serverless", (status, headers))

    async def test(connection: Connection) -> None:
        with pytest.raises(error, match=said):
            await connection.send("GET", "/v2/serverless")

    run(url, test)
    assert platform.requests["GET serverless"] == 1


def test_large_contents_wait_too(url: str, platform: FakePlatform) -> None:
    platform.refuse = Refusing("/values/a", *[(429, {"Retry-After": "0"})] * 2)

    async def test(connection: Connection) -> None:
        await connection.store("/flash/v1/values/a", b"content", BackendError)
        platform.refuse = Refusing("/values/a", (429, {"Retry-After": "0"}))
        assert (await connection.fetch("/flash/v1/values/a", BackendError))[0] == b"content"

    run(url, test)


def test_without_a_stream_a_platform_that_is_gone_is_looked_for_anew(platform: FakePlatform) -> None:
    platform.modern = False

    async def test(connection: Connection) -> None:
        with serving(platform, port=port):
            await connection.send("GET", "/v2/serverless")
            await connection.send("GET", "/v2/serverless")
            assert not connection.streams
            assert connection.number == 1
        sending = asyncio.create_task(connection.send("GET", "/v2/serverless"))
        await asyncio.to_thread(wait_until, lambda: not connection.is_up, PATIENT)
        with serving(platform, port=port):
            await sending
        assert connection.number == 2

    with serving(platform) as url:
        port = int(url.rpartition(":")[2])
    assert len(run(url, test)) > 1


def test_a_certificate_is_checked(platform: FakePlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = self_signed(tmp_path / "server.pem")

    async def test(connection: Connection) -> None:
        await connection.send("GET", "/v2/serverless")

    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with serving(platform, certificate=certificate) as url:
        with pytest.raises(BackendUnavailable, match=r"cannot be trusted: .* set SSL_CERT_FILE"):
            run(url, test)
        assert not platform.requests
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        run(url, test)
        assert platform.requests["GET serverless"] == 1
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere.pem"))
        with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
            run(url, test)
