"""How code and data travel: uploaded where a platform takes that, else carried by the calls."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_flash import Endpoint
from runpod_flash.backends.inline import InlineBackend, InlinePlatform, platform_of
from runpod_flash.calls import RemoteObject, Request
from runpod_flash.crossing import HERE
from runpod_flash.delivery import as_taken, encoded, environment_of, way_to
from runpod_flash.errors import ContentNotFound, PayloadTooLarge
from runpod_flash.options import PYTHONS, check
from runpod_flash.session import Session, use
from runpod_flash.settings import Settings
from tests.support.fake_platform import KEY, FakePlatform, problem, serving
from worker_runtime.wire import neutral
from worker_runtime.wire.call_shape import Shape
from worker_runtime.wire.encoding import ON_WORKERS
from worker_runtime.wire.jobs import Call, Payload, value_output
from worker_runtime.wire.payload import encode
from worker_runtime.wire.specs import PackageIndex


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


# --- where no pickles go ----------------------------------------------------------------------------------------------


OTHER = next(version for version in PYTHONS if version != HERE)


class _Here(InlineBackend):
    """A platform on this machine that is asked for nothing here."""

    def __init__(self, *, takes_pickles: bool) -> None:
        self.takes_pickles = takes_pickles


@pytest.mark.parametrize(
    ("python", "settings", "takes", "neutral"),
    [
        (HERE, {}, True, False),
        (HERE, {}, False, True),
        (HERE, {"encoding": "neutral"}, True, True),
        (OTHER, {}, True, True),
        (OTHER, {"target": "inline", "encoding": "neutral"}, False, False),  # nothing leaves this process
    ],
)
def test_which_way_code_and_values_go(python: str, settings: dict[str, str], takes: bool, neutral: bool) -> None:
    spec = check({"name": "f", "python_version": python})
    assert way_to(spec, Settings(**settings), _Here(takes_pickles=takes)).neutral is neutral


def test_the_callers_packages_are_for_its_own_python_alone() -> None:
    backend = _Here(takes_pickles=True)
    for python, caller in ((HERE, sys.executable), (OTHER, None)):
        spec = check({"name": "f", "python_version": python, "dependencies": ["numpy"]})
        asked = environment_of(spec, way_to(spec, Settings(), backend), backend, PackageIndex(), ("more",))
        assert (asked.python, asked.caller, asked.dependencies) == (python, caller, ("numpy", "more"))


def test_arguments_are_encoded_anew_where_the_platform_turns_out_to_take_no_pickles() -> None:
    spec = check({"name": "f"})
    request = Request(add.__flash_target__, spec, (1,), {}, instance=RemoteObject((2,), {}))
    early = way_to(spec, Settings())
    arguments = encoded(request, early)
    assert not neutral.is_neutral(arguments)
    assert as_taken(request, early, arguments, Settings(), _Here(takes_pickles=True)) == (early, arguments)
    way, again = as_taken(request, early, arguments, Settings(), _Here(takes_pickles=False))
    assert way.neutral
    assert neutral.is_neutral(again)
    assert request.instance is not None
    assert neutral.is_neutral(request.instance.constructor or b"")


@Endpoint(name="deployed", cpu="cpu3c-1-2")
class Deployed:
    def go(self, a: Any, /, b: Any = 0, *more: Any, c: Any = 0) -> None: ...
    @staticmethod
    def alone(a: Any, **rest: Any) -> None: ...


def test_to_what_is_deployed_arguments_go_and_which_they_are_but_no_code(
    platform: FakePlatform, tmp_path: Path
) -> None:
    platform.modern = True
    platform.after_run = lambda job: platform.finish(
        job, value_output(Payload.inlined(neutral.encode("done", ON_WORKERS).data))
    )
    platform.endpoints = {name: {"id": name, "name": name} for name in ("add", "deployed")}
    made = {name: dict(endpoint) for name, endpoint in platform.endpoints.items()}

    async def main() -> None:
        assert await add(1, y=2) == "done"
        handle = Deployed()
        await handle.go(1, 2, 3, 4, c=5)
        await handle.alone(1, other=2)

    with serving(platform) as url:
        settings = Settings(target=url, target_chosen=True, api_key=KEY, home=tmp_path, app="shop")
        with use(Session(settings, project=tmp_path)):
            asyncio.run(main())
    function, method, static = calls(platform)
    assert not platform.contents
    assert platform.endpoints == made
    assert {call.artifact for call in calls(platform)} == {""}
    assert neutral.decode(function.arguments.inline or b"", ON_WORKERS) == ((1,), {"y": 2})
    assert function.shape == Shape(("x",), ("y",))
    assert method.shape == Shape(("a", "b"), ("c",), 2)
    assert method.instance is not None
    assert neutral.is_neutral(method.instance.constructor.inline or b"")
    assert static.shape == Shape(("a",), ("other",))
    assert "app:shop/production" in {headers.get("x-flash-project") for headers in platform.headers}
