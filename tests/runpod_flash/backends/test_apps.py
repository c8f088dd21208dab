"""Apps of a platform over HTTP: what is asked, heard and refused."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from runpod_flash.backends.base import AppStore
from runpod_flash.backends.clients import Address
from runpod_flash.backends.http import HttpBackend
from runpod_flash.backends.inline import InlineBackend, InlinePlatform
from runpod_flash.errors import BackendError, BackendUnavailable, ConfigError, InstallError, StageBusy, StageNotFound
from runpod_flash.output import Output
from tests.support.fake_platform import KEY, FakePlatform

DONE = b'{"event": "done", "version": 3, "changes": [], "stage": {"name": "production"}}\n'


def run(url: str, do: Callable[[AppStore], Awaitable[Any]]) -> Any:
    async def locate() -> Address:
        return Address(url, KEY, "the fake", "no hint")

    async def main() -> Any:
        backend = HttpBackend(locate, Output(), shares_machine=True, default_queue_delay=0.0)
        try:
            async with asyncio.timeout(10):
                return await do(backend.apps)
        finally:
            await backend.aclose()

    return asyncio.run(main())


def lines(*pieces: bytes) -> Response:
    async def sent() -> Any:
        for piece in pieces:
            yield piece

    return StreamingResponse(sent(), media_type="application/x-ndjson")


def test_a_deploy_tells_how_far_it_is_and_gives_its_result(url: str, platform: FakePlatform) -> None:
    asked, heard = list[Request](), list[Any]()

    def answer(request: Request) -> Response:
        asked.append(request)
        return lines(b'{"event": "prepar', b'ing", "endpoint": "a", "text": ""}\n{"event": "beat"}\n', DONE)

    platform.apps = answer
    done = run(
        url, lambda apps: apps.deploy("my app", "production", {"endpoints": []}, base=2, on_progress=heard.append)
    )
    assert done == {"version": 3, "changes": [], "stage": {"name": "production"}}
    assert heard == [{"event": "preparing", "endpoint": "a", "text": ""}]
    assert asked[0].url.path == "/flash/v1/apps/my app/stages/production/deploy"
    assert platform.bodies == [{"manifest": {"endpoints": []}, "base": 2, "prune": False}]
    assert asked[0].headers["accept"] == "application/x-ndjson"


@pytest.mark.parametrize(
    ("last", "kind", "words"),
    [
        (b'{"event": "failed", "status": 422, "code": "InstallError", "detail": "no pkg"}\n', InstallError, "no pkg"),
        (b'{"event": "failed", "status": 409, "code": "StageBusy", "detail": "busy"}\n', StageBusy, "busy"),
        (b'{"event": "beat"}\n', BackendUnavailable, "the next deploy completes it"),
    ],
)
def test_a_failed_deploy_is_the_error_that_it_says(
    url: str, platform: FakePlatform, last: bytes, kind: type[Exception], words: str
) -> None:
    platform.apps = lambda request: lines(last)
    with pytest.raises(kind, match=words):
        run(url, lambda apps: apps.deploy("shop", "production", {"endpoints": []}, base=0))


def test_a_refusal_before_it_begins_is_that_error(url: str, platform: FakePlatform) -> None:
    platform.apps = lambda request: JSONResponse({"detail": "no such stage"}, status_code=404)
    with pytest.raises(StageNotFound, match="no such"):
        run(url, lambda apps: apps.roll_back("shop", "production", 1))
    assert platform.bodies[-1] == {"version": 1}


def test_a_platform_with_the_published_api_alone_has_no_apps(url: str, platform: FakePlatform) -> None:
    platform.modern = False
    with pytest.raises(BackendError, match="knows no apps and no deploys; use a control plane"):
        run(url, lambda apps: apps.all())


def test_inline_has_no_apps() -> None:
    with pytest.raises(ConfigError, match="nothing can be deployed to it"):
        InlineBackend(InlinePlatform()).apps.get("shop")
