"""How code and data travel: uploaded where a platform takes that, else carried by the calls."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_flash import Endpoint
from runpod_flash.backends.inline import InlineBackend, InlinePlatform, platform_of
from runpod_flash.errors import ContentNotFound, PayloadTooLarge
from runpod_flash.session import Session, use
from runpod_flash.settings import Settings
from tests.support.fake_platform import KEY, FakePlatform, problem, serving
from worker_runtime.wire.jobs import Call, Payload, value_output
from worker_runtime.wire.payload import encode


@Endpoint(cpu="cpu3c-1-2")
def add(x: Any, y: Any = 0) -> Any:
    return x


@Endpoint(cpu="cpu3c-1-2")
def other(x: Any) -> Any:
    return x


@pytest.fixture
def platform() -> FakePlatform:
    platform = FakePlatform()
    platform.modern, platform.ends_at_once = False, False
    platform.after_run = lambda job: platform.finish(job, value_output(Payload.inlined(encode("done"))))
    return platform


@pytest.fixture
def session(platform: FakePlatform, tmp_path: Path) -> Iterator[Session]:
    with serving(platform) as url:
        settings = Settings(target=url, target_chosen=True, api_key=KEY, home=tmp_path)
        with use(Session(settings, project=tmp_path)) as session:
            yield session


def calls(platform: FakePlatform) -> list[Call]:
    """What has arrived, in order."""
    return [Call.from_input(call_input) for call_input in platform.inputs.values()]


def test_an_artifact_travels_once_for_each_endpoint(session: Session, platform: FakePlatform) -> None:
    async def main() -> list[Any]:
        return await asyncio.gather(*(add(number) for number in range(20)), *(other(number) for number in range(20)))

    assert asyncio.run(main()) == ["done"] * 40
    assert asyncio.run(add(1)) == "done", "another connection of the session knows it, too"
    carried = [call.artifact for call in calls(platform) if call.artifact_data is not None]
    assert len(carried) == len(set(carried)) == 2
    assert not platform.contents
    assert all(call.inline for call in calls(platform))


def test_large_arguments_travel_inside(session: Session, platform: FakePlatform) -> None:
    assert add.remote(bytes(2_000_000)) == "done"
    (call,) = calls(platform)
    assert call.values == ()
    assert call.arguments.size > 2_000_000


def test_what_the_platform_has_lost_is_carried_again(session: Session, platform: FakePlatform) -> None:
    lost = [True]

    def refuse(request: Any) -> Any:
        lacks = request.url.path.endswith("/run") and len(platform.inputs) == 1 and lost
        return problem(422, "there is no artifact", "ContentNotFound") if lacks and lost.pop() else None

    assert add.remote(1) == "done"
    platform.refuse = refuse
    assert add.remote(2) == "done"
    assert [call.artifact_data is not None for call in calls(platform)] == [True, True]
    assert add.remote(3) == "done"
    assert calls(platform)[-1].artifact_data is None


def test_more_than_fits_is_refused_before_it_is_sent(session: Session, platform: FakePlatform) -> None:
    with pytest.raises(PayloadTooLarge, match=r"takes 10485760 bytes: .* use a platform that has /flash/v1/"):
        add.remote(bytes(8_000_000))
    assert not platform.inputs
    assert add.remote(1) == "done"


def test_a_first_call_that_fails_leaves_the_code_to_the_next(session: Session, platform: FakePlatform) -> None:
    async def main() -> list[Any]:
        return await asyncio.gather(add(bytes(8_000_000)), add(1), add(2), return_exceptions=True)

    first, *others = asyncio.run(main())
    assert isinstance(first, PayloadTooLarge)
    assert others == ["done", "done"]
    assert sorted(call.artifact_data is not None for call in calls(platform)) == [False, True]


def test_an_upload_that_fails_is_tried_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(InlineBackend):
        refusals = [ContentNotFound("no")] * 3

        async def put_artifact(self, artifact_id: str, data: bytes) -> None:
            if self.refusals:
                raise self.refusals.pop()
            await super().put_artifact(artifact_id, data)

    async def connect(settings: Settings, project: Path) -> InlineBackend:
        return Refusing(platform)

    monkeypatch.setattr("runpod_flash.backends.connect", connect)
    settings = Settings(target="inline", home=tmp_path)
    platform: InlinePlatform = platform_of(settings)
    with use(Session(settings, project=tmp_path)):
        with contextlib.suppress(ContentNotFound):
            add.remote(1)
        assert not Refusing.refusals
        assert add.remote(2) == 2
        assert len(platform.manifests) == 1
